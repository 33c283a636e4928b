// Gated convolutions on fixed templates (the quotient graphs of prototypes), for many candidates at once.
//
// The networks are those of `Folded` in kernel.py; template_kernel.py packs them, loads this library and calls it.
// This file is compiled once for each instruction set (INSTRUCTIONS names it, LANES is the floats of one of its
// registers) and once for the choice between them (without INSTRUCTIONS); see hatch_build.py.
//
// Every instruction set gives the same bits, and so does every order and number of candidates: an output never depends
// on LANES, because lanes are independent columns that are never summed; sums run in one order; products with sums are
// fused everywhere by `fma` (and nowhere else: -ffp-contract=off); divisions are real ones.
//
// All vectors are in units of ln 2, where softplus is log2(1 + 2^x) and sigmoid 1 / (1 + 2^-x): powers of two need no
// reduction of the argument. Gates come negated. Both are matters of packing, and of it alone.

#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

constexpr int32_t VERSION = 3;      // of the arithmetic and of the structs below; as in template_kernel.py
constexpr int GROUP = 16;           // columns that weights are packed by; every width is a multiple of it
constexpr int ELEMENTS = 101;       // rows of tables by element
constexpr int ROLES = 3;            // A, B, X
constexpr int B = 1;                // position of B among the roles
constexpr int MOST_NODES = 64;      // of a template; as in template_kernel.py
constexpr int MOST_DISTANCES = 64;  // different ones, of a template; as there

extern "C" {

// One member. Matrices (inputs, outputs) are packed as (outputs / GROUP, inputs, GROUP).
struct Network {
    int32_t width, layers, hidden, hidden_layers, outputs;  // W, L, H, and the columns of the last product
    int32_t pooling;                                        // 0: mean or sum, 1: maximum, 2: linear
    int32_t sites;       // S, of the readout of sites; 0 without one
    int32_t site_vectors;  // P: 7 (A, B, X, AB, AX, BX, ABX), or 10 with those of the spread of B (B, BX, AB)
    int32_t activation;  // of the hidden layers; 0: softplus, 1: x * sigmoid(x)
    int32_t table_rows;
    float table_step;             // Å between the rows of `distance`
    const float *elements;        // (101, W) initial vectors
    const float *first;           // (101, 4W) products of these: receiver's gate and core, sender's gate and core
    const float *convolution;     // (L - 1) matrices W to 4W, for the layers after the first
    const float *convolution_bias;  // (L - 1, 4W)
    const float *distance;        // (L, table_rows, 2W) gate and core; row i is for the distance (i - 1) * table_step
    const float *scale, *shift;   // (L, W) of the nodes' norm
    const float *site_table;      // (ROLES, 101, S) vectors of elements on each role, in units of one
    const float *hidden_weight;   // matrices W + PS to H, then H to H
    const float *hidden_bias;     // (hidden_layers, H)
    const float *output_weight;   // a matrix H (or W + PS) to `outputs`
    const float *output_bias;     // (outputs,)
    const float *binary;          // (outputs,) 1 where the output is to be made a probability
};

// A quotient graph. Edges are sorted by the node that receives.
struct Template {
    int32_t nodes, edges, distances, sites;  // `sites` is the number of columns of `species`
    const int32_t *site;           // (nodes,) the site that names a node's element
    const float *share;            // (nodes,) weights of the pool
    const int32_t *role;           // (nodes,) of a node's site
    const float *role_share;       // (nodes,) of the atoms of its role
    const int32_t *first_edge;     // (nodes + 1,)
    const int32_t *source;         // (edges,) node that sends
    const int32_t *which;          // (edges,) position in `length`
    const float *edge_multiplicity;  // (edges,) neighbours that an edge stands for
    const float *length;           // (distances,) in units of the lattice constant
};

// Candidates: rows of species (?, sites) and of a (?,), Å; targets go to the same rows of out (?, targets).
struct Candidates {
    int64_t count;
    const int64_t *rows;  // (count,)
    const uint8_t *species;
    const float *a;
    float *out;
    int32_t targets;
};
}

#ifdef INSTRUCTIONS

namespace INSTRUCTIONS {

typedef float V __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));

constexpr int PER = GROUP / LANES;  // registers in a group of columns

// What an instruction set has to offer besides + - * /: the fused product and sum, and the larger of two numbers.
// A tile of a product has TILE_ROWS rows and TILE_GROUPS groups of columns, as many as the registers hold.
#if LANES == 16
constexpr int TILE_ROWS = 12, TILE_GROUPS = 2;
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V larger(V a, V b) { return _mm512_max_ps(a, b); }
inline V smaller(V a, V b) { return _mm512_min_ps(a, b); }
#elif LANES == 8
constexpr int TILE_ROWS = 6, TILE_GROUPS = 1;
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V larger(V a, V b) { return _mm256_max_ps(a, b); }
inline V smaller(V a, V b) { return _mm256_min_ps(a, b); }
#elif LANES == 4
constexpr int TILE_ROWS = 6, TILE_GROUPS = 1;
inline V fma(V a, V b, V c) { return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
inline V larger(V a, V b) { return (V)vmaxq_f32((float32x4_t)a, (float32x4_t)b); }
inline V smaller(V a, V b) { return (V)vminq_f32((float32x4_t)a, (float32x4_t)b); }
#endif
constexpr int MOST_ROWS = 12;  // multiple of every TILE_ROWS: what numbers of rows are rounded up to

inline V splat(float x) { return x - V{}; }

inline V load(const float *from) {
    V v;
    memcpy(&v, from, sizeof v);
    return v;
}

inline void store(float *to, V v) { memcpy(to, &v, sizeof v); }

// 2^x within 1e-7 of it, for x from -125 to 125 and the nearest of these beyond.
inline V power(V x) {
    x = smaller(larger(x, splat(-125.f)), splat(125.f));
    const V shifted = x + 12582912.f;  // 1.5 * 2^23: what is after the point is rounded away
    const V rest = x - (shifted - 12582912.f);  // -0.5 to 0.5
    V p = splat(1.327647129073739e-3f);  // minimax for the relative error, 7.5e-8
    p = fma(p, rest, splat(9.675540961325169e-3f));
    p = fma(p, rest, splat(5.550713092088699e-2f));
    p = fma(p, rest, splat(2.402212023735046e-1f));
    p = fma(p, rest, splat(6.931469440460205e-1f));
    p = fma(p, rest, splat(1.f));
    return (V)((I)p + ((I)shifted << 23));
}

// log2(1 + 2^x) within 1e-7.
inline V softplus(V x) {
    const V t = power((V)((I)x | INT32_MIN));  // 2^-|x|
    V p = splat(-9.309157729148865e-3f);       // log2(1 + t) / t, minimax for the error of the whole, 4.6e-8
    p = fma(p, t, splat(5.205897986888886e-2f));
    p = fma(p, t, splat(-1.375213116407394e-1f));
    p = fma(p, t, splat(2.418647557497025e-1f));
    p = fma(p, t, splat(-3.473010659217834e-1f));
    p = fma(p, t, splat(4.786837100982666e-1f));
    p = fma(p, t, splat(-7.211657762527466e-1f));
    p = fma(p, t, splat(1.4426898956298828f));
    return fma(p, t, larger(x, V{}));
}

// A tile of a product: x (ROWS, depth) times weights (GROUPS, depth, GROUP), in registers.
template <int ROWS, int GROUPS>
inline void tile(const float *x, int depth, const float *weight, const float *bias, float *out, int stride) {
    V sum[ROWS][GROUPS * PER];
#pragma GCC unroll 16
    for (int c = 0; c < GROUPS * PER; c++)
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; r++) sum[r][c] = V{};
    for (int k = 0; k < depth; k++) {
        V column[GROUPS * PER];
#pragma GCC unroll 16
        for (int c = 0; c < GROUPS * PER; c++)
            column[c] = load(weight + (c / PER * depth + k) * GROUP + c % PER * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; r++) {
            const V factor = splat(x[r * depth + k]);
#pragma GCC unroll 16
            for (int c = 0; c < GROUPS * PER; c++) sum[r][c] = fma(factor, column[c], sum[r][c]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 16
        for (int c = 0; c < GROUPS * PER; c++) store(out + r * stride + c * LANES, sum[r][c] + load(bias + c * LANES));
}

// out (rows, columns) = x (rows, depth) times a packed matrix, plus bias; rows is a multiple of MOST_ROWS.
void product(const float *x, int rows, int depth, const float *weight, const float *bias, float *out, int columns) {
    int c = 0;
    for (; c + TILE_GROUPS * GROUP <= columns; c += TILE_GROUPS * GROUP)
        for (int r = 0; r < rows; r += TILE_ROWS)
            tile<TILE_ROWS, TILE_GROUPS>(x + r * depth, depth, weight + c * depth, bias + c, out + r * columns + c,
                                         columns);
    for (; c < columns; c += GROUP)
        for (int r = 0; r < rows; r += TILE_ROWS)
            tile<TILE_ROWS, 1>(x + r * depth, depth, weight + c * depth, bias + c, out + r * columns + c, columns);
}

// Cubic interpolation between four rows of a table of distances (Lagrange).
struct Between {
    const float *row;
    float weight[4];

    void set(const Network &net, int layer, float distance) {
        float position = distance / net.table_step;
        const float last = (float)(net.table_rows - 4);
        position = position < last ? position : last;  // also if it is not a number; beyond, the Gaussians are 0
        position = position > 0.f ? position : 0.f;
        const int i = (int)position;
        const float t = position - (float)i, u = t - 1.f, w = t - 2.f, s = t + 1.f;
        row = net.distance + ((int64_t)layer * net.table_rows + i) * 2 * net.width;
        weight[0] = t * u * w / -6.f;
        weight[1] = s * u * w / 2.f;
        weight[2] = s * t * w / -2.f;
        weight[3] = s * t * u / 6.f;
    }

    V at(int column, int stride) const {
        V v = load(row + column) * weight[0];
        v = fma(load(row + stride + column), splat(weight[1]), v);
        v = fma(load(row + 2 * stride + column), splat(weight[2]), v);
        return fma(load(row + 3 * stride + column), splat(weight[3]), v);
    }
};

// One layer of one candidate, LANES channels at a time and all its edges for these: new node vectors (nodes, W).
// `vector` and `ends` point to the W and the 4W numbers of each node; new vectors may take the place of the old.
void convolve(const Network &net, const Template &graph, int layer, float a, const float *const *vector,
              const float *const *ends, float *out) {
    const int W = net.width;
    Between between[MOST_DISTANCES];
    for (int d = 0; d < graph.distances; d++) between[d].set(net, layer, a * graph.length[d]);
    const float *scale = net.scale + layer * W, *shift = net.shift + layer * W;
    for (int c = 0; c < W; c += LANES) {
        V gate_of[MOST_DISTANCES], core_of[MOST_DISTANCES];
        for (int d = 0; d < graph.distances; d++) {
            gate_of[d] = between[d].at(c, 2 * W);
            core_of[d] = between[d].at(W + c, 2 * W);
        }
        for (int n = 0; n < graph.nodes; n++) {
            const V gate_here = load(ends[n] + c), core_here = load(ends[n] + W + c);
            V total = V{};
            for (int e = graph.first_edge[n]; e < graph.first_edge[n + 1]; e++) {
                const float *sender = ends[graph.source[e]] + 2 * W + c;
                const V gate = gate_here + load(sender) + gate_of[graph.which[e]];
                const V core = core_here + load(sender + W) + core_of[graph.which[e]];
                total = fma(splat(graph.edge_multiplicity[e]), softplus(core) / (1.f + power(gate)), total);
            }
            const V sum = fma(total, load(scale + c), load(shift + c));
            store(out + n * W + c, softplus(load(vector[n] + c) + sum));
        }
    }
}

// The crystal's vector (W,) from those of its nodes (nodes, W).
void pool(const Network &net, const Template &graph, const float *nodes, float *out) {
    for (int c = 0; c < net.width; c += LANES) {
        V v = load(nodes + c);
        if (net.pooling != 1) v = v * graph.share[0];
        for (int n = 1; n < graph.nodes; n++) {
            const V next = load(nodes + n * net.width + c);
            v = net.pooling == 1 ? larger(v, next) : fma(next, splat(graph.share[n]), v);
        }
        store(out + c, net.pooling == 2 ? v : softplus(v));
    }
}

// The vectors of A, B and X, their products by twos, that of all three, and what there is of the spread of B, (P, S).
void read_sites(const Network &net, const Template &graph, const uint8_t *species, float *out) {
    const int S = net.sites;
    for (int c = 0; c < S; c += LANES) {
        V u[ROLES] = {V{}, V{}, V{}}, squares = V{};
        for (int n = 0; n < graph.nodes; n++) {
            const int r = graph.role[n], z = species[graph.site[n]];
            const V v = load(net.site_table + ((int64_t)r * ELEMENTS + z) * S + c);
            u[r] = fma(v, splat(graph.role_share[n]), u[r]);
            if (r == B) squares = fma(v * v, splat(graph.role_share[n]), squares);
        }
        const V pair = u[0] * u[1], spread = squares - u[B] * u[B];
        const V all[] = {u[0],        u[1],   u[2],          pair,         u[0] * u[2], u[1] * u[2],
                         pair * u[2], spread, spread * u[2], spread * u[0]};
        for (int k = 0; k < net.site_vectors; k++) store(out + k * S + c, all[k]);
    }
}

inline V activated(const Network &net, V v) { return net.activation ? v / (1.f + power(-v)) : softplus(v); }

// What the hidden layers read of a crystal.
inline int crystal_width(const Network &net) { return net.width + net.site_vectors * net.sites; }

// Memory for a block of candidates.
struct Block {
    float *vector, *ends, *crystal, *hidden;  // (rows, W), (rows, 4W), and twice (candidates, W + PS or H)
};

// `rows` made a multiple of MOST_ROWS; what the rows that are too many hold is never read.
inline int rounded(int rows) { return (rows + MOST_ROWS - 1) / MOST_ROWS * MOST_ROWS; }

// Targets of the candidates of a block.
void predict_block(const Network &net, const Template &graph, const Candidates &those, int64_t start, int count,
                   const Block &block) {
    const int W = net.width, nodes = graph.nodes, crystals = rounded(count);
    const float *vector[MOST_NODES], *ends[MOST_NODES];
    for (int layer = 0; layer < net.layers; layer++) {
        if (layer > 0)
            product(block.vector, rounded(count * nodes), W, net.convolution + (int64_t)(layer - 1) * 4 * W * W,
                    net.convolution_bias + (layer - 1) * 4 * W, block.ends, 4 * W);
        for (int i = 0; i < count; i++) {
            const int64_t row = those.rows[start + i];
            for (int n = 0; n < nodes; n++) {
                const int z = those.species[row * graph.sites + graph.site[n]], at = i * nodes + n;
                vector[n] = layer > 0 ? block.vector + at * W : net.elements + z * W;
                ends[n] = layer > 0 ? block.ends + at * 4 * W : net.first + z * 4 * W;
            }
            convolve(net, graph, layer, those.a[row], vector, ends, block.vector + (int64_t)i * nodes * W);
        }
    }
    int depth = crystal_width(net);
    for (int i = 0; i < count; i++) {
        float *crystal = block.crystal + i * depth;
        pool(net, graph, block.vector + (int64_t)i * nodes * W, crystal);
        read_sites(net, graph, those.species + those.rows[start + i] * graph.sites, crystal + W);
    }
    float *x = block.crystal, *y = block.hidden;
    const float *weight = net.hidden_weight;
    for (int layer = 0; layer < net.hidden_layers; layer++) {
        product(x, crystals, depth, weight, net.hidden_bias + layer * net.hidden, y, net.hidden);
        for (int k = 0; k < crystals * net.hidden; k += LANES) store(y + k, activated(net, load(y + k)));
        weight += depth * net.hidden;
        depth = net.hidden;
        float *other = x;
        x = y;
        y = other;
    }
    product(x, crystals, depth, net.output_weight, net.output_bias, y, net.outputs);
    for (int i = 0; i < count; i++) {
        float *values = y + i * net.outputs;
        for (int k = 0; k < net.outputs; k += LANES) {
            const V v = load(values + k);
            const V probability = 1.f / (1.f + power(v * -1.4426950408889634f));
            store(values + k, load(net.binary + k) > 0.f ? probability : v);
        }
        memcpy(those.out + those.rows[start + i] * those.targets, values, sizeof(float) * those.targets);
    }
}

float *room(int64_t floats) {
    const size_t bytes = (sizeof(float) * floats + 63) / 64 * 64;
    void *memory = aligned_alloc(64, bytes);
    if (memory) memset(memory, 0, bytes);
    return (float *)memory;
}

// Blocks of as many candidates as have about 144 nodes, whose vectors stay in the cache of a core.
int predict(const Network &net, const Template &graph, const Candidates &those) {
    const int per_tile = MOST_ROWS / graph.nodes, capacity = MOST_ROWS * (per_tile > 0 ? per_tile : 1);
    const int64_t rows = (int64_t)capacity * graph.nodes;
    int wide = crystal_width(net) > net.hidden ? crystal_width(net) : net.hidden;
    wide = wide > net.outputs ? wide : net.outputs;
    const Block block = {room(rows * net.width), room(rows * 4 * net.width), room(capacity * wide),
                         room(capacity * wide)};
    const bool there = block.vector && block.ends && block.crystal && block.hidden;
    for (int64_t start = 0; there && start < those.count; start += capacity) {
        const int64_t left = those.count - start;
        predict_block(net, graph, those, start, left < capacity ? (int)left : capacity, block);
    }
    free(block.vector), free(block.ends), free(block.crystal), free(block.hidden);
    return there ? 0 : 1;
}

}  // namespace INSTRUCTIONS

#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)

// 0, or 1 if there is no memory.
extern "C" int NAMED(predict_, INSTRUCTIONS)(const Network *net, const Template *graph, const Candidates *those) {
    return INSTRUCTIONS::predict(*net, *graph, *those);
}

// For tests: 2^x and log2(1 + 2^x) of count numbers, a multiple of GROUP, one after the other.
extern "C" void NAMED(functions_, INSTRUCTIONS)(const float *x, int64_t count, float *out) {
    using namespace INSTRUCTIONS;
    for (int64_t i = 0; i < count; i += LANES) {
        store(out + i, power(load(x + i)));
        store(out + count + i, softplus(load(x + i)));
    }
}

#else

extern "C" int32_t kernel_version() { return VERSION; }

// Whether this machine has the instructions that a set was compiled for.
extern "C" int32_t kernel_supports(const char *set) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!strcmp(set, "avx512")) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
    if (!strcmp(set, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#elif defined(__aarch64__)
    if (!strcmp(set, "neon")) return 1;
#endif
    return 0;
}

#endif
