// Crystals: made from the prototype, the elements and the predicted lattice constant, or as they came with the report.

const ANIONS = new Set(["H", "N", "O", "F", "P", "S", "Cl", "As", "Se", "Br", "Te", "I"]);

/** The crystal of a candidate: lattice vectors as rows in Å, atoms with fractions of the cell; null where there is none. */
function crystalOf(row) {
  if (DATA.prototype) return onPrototype(row);
  const given = DATA.structures?.[row];
  if (!given) return null;
  return {
    lattice: latticeOf(given.cell),
    atoms: given.symbols.map((symbol, i) => ({ symbol, site: "", frac: given.frac[i] })),
  };
}

function onPrototype(row) {
  const { sites, roles, atoms, frac, lattice } = DATA.prototype;
  const a = valueOf("a_angstrom", row);
  if (a === null) return null;
  return {
    a,
    lattice: lattice.map((vector) => vector.map((x) => x * a)),
    atoms: atoms.map((site, i) => ({
      symbol: DATA.symbols[DATA.species[row][site]], site: sites[site], role: roles[site], frac: frac[i],
    })),
  };
}

/** Lattice vectors as rows of a cell: three edges in Å and three angles in degrees. */
function latticeOf([a, b, c, alpha, beta, gamma]) {
  const [ca, cb, cg] = [alpha, beta, gamma].map((angle) => Math.cos((angle * Math.PI) / 180));
  const sg = Math.sin((gamma * Math.PI) / 180);
  const y = (ca - cb * cg) / sg;
  return [[a, 0, 0], [b * cg, b * sg, 0], [c * cb, c * y, c * Math.sqrt(Math.max(1 - cb * cb - y * y, 0))]];
}

/** Edges in Å and angles in degrees of lattice vectors. */
function cellOf(lattice) {
  const lengths = lattice.map((vector) => Math.hypot(...vector));
  const angles = [[1, 2], [0, 2], [0, 1]].map(([i, j]) => {
    return (Math.acos(dot(lattice[i], lattice[j]) / lengths[i] / lengths[j]) * 180) / Math.PI;
  });
  return [...lengths, ...angles];
}

/** A place in Å. */
function placeOf(lattice, frac) {
  return [0, 1, 2].map((axis) => frac.reduce((sum, x, i) => sum + x * lattice[i][axis], 0));
}

function dot(u, v) {
  return u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
}

function cross(u, v) {
  return [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
}

/** The volume that three vectors span; negative if they are left-handed. */
function volumeOf([a, b, c]) {
  return dot(a, cross(b, c));
}

/** Fractions of a cell at a place in Å. */
function fractionsOf(lattice, place) {
  const [a, b, c] = lattice;
  const volume = volumeOf(lattice);
  return [cross(b, c), cross(c, a), cross(a, b)].map((normal) => dot(normal, place) / volume);
}

/** The cell to look at: of a prototype the smallest cube that repeats, else the cell itself. */
function viewCell(crystal) {
  if (!crystal.a) return crystal.lattice;
  const repeats = (edge) => [[edge, 0, 0], [0, edge, 0], [0, 0, edge]].every((place) =>
    fractionsOf(crystal.lattice, place).every((x) => Math.abs(x - Math.round(x)) < 1e-6));
  const edge = [1, 2, 4].map((times) => times * crystal.a).find(repeats);
  return edge === undefined ? crystal.lattice : [[edge, 0, 0], [0, edge, 0], [0, 0, edge]];
}

const NEAR_CELLS = [-2, -1, 0, 1, 2].flatMap((i) => [-2, -1, 0, 1, 2].flatMap((j) => [-2, -1, 0, 1, 2].map((k) => [i, j, k])));

/** All atoms near the cell to look at, each with its place; `inside` says which are in the cell or on its faces.
 * Of a prototype it has A at its corners, and so whole octahedra inside. */
function atomsAround(crystal, cell) {
  const corner = crystal.atoms.find((atom) => atom.role === "A")?.frac ?? [0, 0, 0];
  const within = (x) => x > -1e-3 && x < 1 + 1e-3;
  const shift = DATA.prototype ? NEAR_CELLS : NEAR_CELLS.filter((move) => move.every((n) => Math.abs(n) < 2));
  return crystal.atoms.flatMap((atom) => shift.map((move) => {
    const place = placeOf(crystal.lattice, atom.frac.map((x, i) => x - corner[i] + move[i]));
    return { ...atom, place, inside: fractionsOf(cell, place).every(within) };
  }));
}

function distance(one, other) {
  return Math.hypot(...one.place.map((x, axis) => x - other.place[axis]));
}

/** Bonds of anions to their nearest cations, as pairs of atoms; whoever is bonded to an inner cation is shown too. */
function bondsOf(atoms) {
  const isAnion = (atom) => (atom.role ? atom.role === "X" : ANIONS.has(atom.symbol));
  const cations = atoms.filter((atom) => !isAnion(atom));
  return atoms.filter(isAnion).flatMap((anion) => {
    const lengths = cations.map((cation) => distance(anion, cation));
    const limit = 1.2 * Math.min(...lengths);
    return cations.filter((cation, i) => lengths[i] <= limit && cation.inside)
      .map((cation) => [cation, anion]);
  });
}

/** Show a crystal in an element; it turns until it is stopped. Null where the browser cannot. */
function showCrystal(element, crystal, background, turning) {
  const cell = viewCell(crystal);
  const around = atomsAround(crystal, cell);
  const bonds = bondsOf(around);
  const shown = new Set(around.filter((atom) => atom.inside));
  bonds.forEach(([, anion]) => shown.add(anion));
  const viewer = $3Dmol.createViewer(element, { backgroundColor: background, antialias: true, disableFog: true });
  if (!viewer?.addSphere) return null;
  const colours = $3Dmol.elementColors.Jmol;
  const at = ([x, y, z]) => ({ x, y, z });
  for (const atom of shown) {
    viewer.addSphere({ center: at(atom.place), radius: radiusOf(atom), color: colours[atom.symbol] ?? 0x999999 });
  }
  for (const [cation, anion] of bonds) {
    viewer.addCylinder({ start: at(cation.place), end: at(anion.place), radius: crystal.atoms.length > 5 ? 0.06 : 0.09, color: 0x8a94a0, fromCap: 1, toCap: 1 });
  }
  octahedraOf(bonds).forEach(([cation, corners]) => addOctahedron(viewer, corners, colours[cation.symbol] ?? 0x999999));
  edgesOf(cell).forEach(([start, end]) => viewer.addLine({ start: at(start), end: at(end), color: 0x8a94a0 }));
  viewer.zoomTo();
  viewer.rotate(12, "x");
  viewer.rotate(20, "y");
  viewer.zoom(DATA.prototype ? 1.2 : 0.95);
  viewer.render();
  if (turning) viewer.spin("y", 0.4);
  return viewer;
}

function radiusOf(atom) {
  if (atom.role === "A") return 0.62;
  return ANIONS.has(atom.symbol) || atom.role === "X" ? 0.3 : 0.42;
}

/** Cations with exactly six bonds, and the places of these six. */
function octahedraOf(bonds) {
  const corners = new Map();
  bonds.forEach(([cation, anion]) => corners.set(cation, [...(corners.get(cation) ?? []), anion.place]));
  return [...corners].filter(([, places]) => places.length === 6);
}

/** Eight faces: three corners of which none lies opposite another. */
function addOctahedron(viewer, corners, color) {
  const centre = [0, 1, 2].map((axis) => corners.reduce((sum, place) => sum + place[axis], 0) / 6);
  const arm = corners.map((place) => place.map((x, axis) => x - centre[axis]));
  const opposite = (i, j) => dot(arm[i], arm[j]) < -0.5 * Math.hypot(...arm[i]) * Math.hypot(...arm[j]);
  const vertexArr = [];
  const normalArr = [];
  const faceArr = [];
  for (let i = 0; i < 6; i += 1) for (let j = i + 1; j < 6; j += 1) for (let k = j + 1; k < 6; k += 1) {
    if (opposite(i, j) || opposite(i, k) || opposite(j, k)) continue;
    const outward = [0, 1, 2].map((axis) => arm[i][axis] + arm[j][axis] + arm[k][axis]);
    const length = Math.hypot(...outward);
    const normal = { x: outward[0] / length, y: outward[1] / length, z: outward[2] / length };
    const leftHanded = volumeOf([arm[i], arm[j], arm[k]]) < 0;
    faceArr.push(vertexArr.length, vertexArr.length + 1, vertexArr.length + 2);
    for (const corner of leftHanded ? [i, k, j] : [i, j, k]) {
      const [x, y, z] = corners[corner];
      vertexArr.push({ x, y, z });
      normalArr.push(normal);
    }
  }
  viewer.addCustom({ vertexArr, normalArr, faceArr, color, opacity: 0.35 });
}

function edgesOf(cell) {
  const corner = (i, j, k) => placeOf(cell, [i, j, k]);
  const ends = [0, 1];
  return ends.flatMap((i) => ends.flatMap((j) => [
    [corner(0, i, j), corner(1, i, j)], [corner(i, 0, j), corner(i, 1, j)], [corner(i, j, 0), corner(i, j, 1)],
  ]));
}
