// Structures as CIF files.

/** A text as a comment of a CIF file: one line of plain characters. */
function cifComment(text) {
  return `# ${text.replace(/[^\x20-\x7e]+/g, "?").slice(0, 200)}`;
}

/** A crystal as CIF: all atoms of its cell, named by their sites, below lines that say where they come from. */
function cifText(crystal, comments) {
  const [a, b, c, alpha, beta, gamma] = cellOf(crystal.lattice);
  const seen = {};
  const atoms = crystal.atoms.map(({ symbol, site, frac }) => {
    seen[symbol] = (seen[symbol] ?? 0) + 1;
    const label = `${symbol}${seen[symbol]}${site ? `_${site}` : ""}`;
    return `  ${symbol} ${label} 1 ${frac.map((x) => x.toFixed(6)).join(" ")} 1.0`;
  });
  const lines = [
    ...comments.map(cifComment),
    "data_candidate",
    "_symmetry_space_group_name_H-M 'P 1'",
    ...[["length_a", a], ["length_b", b], ["length_c", c]].map(([name, value]) => `_cell_${name} ${value.toFixed(6)}`),
    ...[["angle_alpha", alpha], ["angle_beta", beta], ["angle_gamma", gamma]].map(([name, value]) => `_cell_${name} ${value.toFixed(5)}`),
    "_symmetry_Int_Tables_number 1",
    "loop_", " _symmetry_equiv_pos_site_id", " _symmetry_equiv_pos_as_xyz", "  1 'x, y, z'",
    "loop_", " _atom_site_type_symbol", " _atom_site_label", " _atom_site_symmetry_multiplicity",
    " _atom_site_fract_x", " _atom_site_fract_y", " _atom_site_fract_z", " _atom_site_occupancy",
    ...atoms,
  ];
  return `${lines.join("\n")}\n`;
}

/** Give the reader the CIF file of a candidate. */
function saveCif(row) {
  const crystal = crystalOf(row);
  const { formula, rank, index } = Object.fromEntries(["formula", "rank", "index"].map((name) => [name, valueOf(name, row)]));
  const comments = [
    `${formula}, rank ${rank}, candidate ${index}`,
    `predicted energy above hull ${energyText(valueOf("e_above_hull", row), valueOf("e_above_hull_std", row)).replace("−", "-").replace("±", "+-")} by ${DATA.model}`,
    DATA.prototype ? `ideal ${DATA.prototype.name} with the predicted lattice constant: relax it before you use it` : "as it was given",
  ];
  saveFile(`${String(rank).padStart(4, "0")}-${fileName(formula)}-${index}.cif`, cifText(crystal, comments), "chemical/x-cif");
}
