// The kernels themselves, in GCC's vector extensions, and intrinsics where these would go lane by lane: compiled once
// per instruction set, with REGULENS_ISA the name of its table and REGULENS_LANES the floats of a vector. Everything is
// in an unnamed namespace and no template of the standard library is used: code made for one instruction set must never
// be the linker's choice for another.
#include "kernels.h"

#include <cfloat>
#include <cmath>
#include <cstring>
#if REGULENS_LANES == 16
#include <immintrin.h>
#endif

namespace regulens {
namespace {

constexpr int L = REGULENS_LANES;
constexpr int MANY = L == 16 ? 24 : 8;  // vectors that stay in registers beside what else a loop needs

typedef float vf __attribute__((vector_size(4 * L)));
typedef int32_t vi __attribute__((vector_size(4 * L)));
typedef uint32_t vu __attribute__((vector_size(4 * L)));
typedef uint8_t vb __attribute__((vector_size(L)));
typedef float vf_anywhere __attribute__((vector_size(4 * L), aligned(4), may_alias));
typedef int32_t vi_anywhere __attribute__((vector_size(4 * L), aligned(4), may_alias));
typedef uint8_t vb_anywhere __attribute__((vector_size(L), aligned(1), may_alias));

inline vf load(const float *p) { return *reinterpret_cast<const vf_anywhere *>(p); }
inline void store(float *p, vf v) { *reinterpret_cast<vf_anywhere *>(p) = v; }
inline vf all(float v) { return vf{} + v; }

#ifdef __has_builtin
#define REGULENS_SHUFFLES __has_builtin(__builtin_shufflevector)
#endif
// Lanes below 256 as bytes.
#if REGULENS_LANES == 8 && REGULENS_SHUFFLES
inline vb bytes(vi v) {
    typedef uint8_t all_bytes __attribute__((vector_size(32)));
    const all_bytes b = reinterpret_cast<all_bytes>(v);
    return __builtin_shufflevector(b, b, 0, 4, 8, 12, 16, 20, 24, 28);
}
#else
inline vb bytes(vi v) { return __builtin_convertvector(v, vb); }
#endif
inline vi widened(const uint8_t *p) {
#if REGULENS_LANES == 16
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
#else
    return __builtin_convertvector(*reinterpret_cast<const vb_anywhere *>(p), vi);
#endif
}

constexpr int64_t up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Images whose rows are read or written beyond their ends, or that have borders, are worked on in a padded copy.
bool in_place(const Block &b) { return !b.same && b.k * b.c % L == 0; }
int64_t image_floats(const Block &b) { return b.padded_h() * b.padded_w() * b.c + L; }

void pad_image(const Block &b, const float *x, float *padded) {
    const int64_t row = b.padded_w() * b.c, left = b.padding_before() * b.c, used = b.w * b.c;
    std::memset(padded, 0, image_floats(b) * sizeof(float));
    for (int64_t y = 0; y < b.h; y++)
        std::memcpy(padded + (y + b.padding_before()) * row + left, x + y * used, used * sizeof(float));
}

void unpad_image(const Block &b, const float *padded, float *x) {
    const int64_t row = b.padded_w() * b.c, left = b.padding_before() * b.c, used = b.w * b.c;
    for (int64_t y = 0; y < b.h; y++)
        std::memcpy(x + y * used, padded + (y + b.padding_before()) * row + left, used * sizeof(float));
}

// ---- live columns -------------------------------------------------------------------------------------------------

// Behind a ReLU much is zero in a whole batch, filters above all: what it would be multiplied with need not be.

// Sets live[i] where column i is not zero in one of the rows.
void look_at(int64_t rows, int64_t columns, const float *x, int32_t *live) {
    int64_t r = 0;
    if (columns < L && L % columns == 0) {  // several rows are a vector
        vi seen{};
        for (; r + L / columns <= rows; r += L / columns) seen |= load(x + r * columns) != 0;
        for (int lane = 0; lane < L; lane++) live[lane % columns] |= seen[lane];
    }
    constexpr int64_t together = 4;
    for (; r + together <= rows; r += together) {
        const float *row = x + r * columns;
        int64_t i = 0;
        for (; i + L <= columns; i += L) {
            vi_anywhere &seen = *reinterpret_cast<vi_anywhere *>(live + i);
            for (int64_t next = 0; next < together; next++) seen |= load(row + next * columns + i) != 0;
        }
        for (; i < columns; i++)
            for (int64_t next = 0; next < together; next++) live[i] |= row[next * columns + i] != 0;
    }
    for (; r < rows; r++)
        for (int64_t i = 0; i < columns; i++) live[i] |= x[r * columns + i] != 0;
}

int64_t live_columns(int64_t rows, int64_t columns, const float *x, int64_t most, int32_t *live) {
    constexpr int64_t piece = 16;  // rows, between two looks whether there are too many already
    std::memset(live, 0, columns * sizeof(int32_t));
    for (int64_t from = 0; from < rows; from += piece) {
        look_at(from + piece < rows ? piece : rows - from, columns, x + from * columns, live);
        int64_t count = 0;
        for (int64_t i = 0; i < columns; i++) count += live[i] != 0;
        if (count > most) return -1;
    }
    int64_t count = 0;
    for (int32_t i = 0; i < columns; i++)
        if (live[i]) live[count++] = i;
    return count;
}

void pick_columns(int64_t rows, int64_t columns, int64_t count, const int32_t *live, const float *x, float *out) {
    for (int64_t r = 0; r < rows; r++, x += columns, out += count)
#pragma GCC unroll 4
        for (int64_t j = 0; j < count; j++) out[j] = x[live[j]];
}

void spread_columns(int64_t rows, int64_t columns, int64_t count, const int32_t *live, const float *x, float *out) {
    std::memset(out, 0, rows * columns * sizeof(float));
    for (int64_t r = 0; r < rows; r++, x += count, out += columns)
        for (int64_t j = 0; j < count; j++) out[live[j]] = x[j];
}

// The largest absolute value; infinity or NaN if there is one.
float largest(int64_t size, const float *x) {
    uint32_t most = 0;
    for (int64_t i = 0; i < size; i++) {
        uint32_t bits;
        std::memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float value;
    std::memcpy(&value, &most, sizeof value);
    return value;
}

bool all_finite(int64_t size, const float *x) { return largest(size, x) <= FLT_MAX; }

// ---- convolution + bias + ReLU + 2 x 2 max pooling, forward -------------------------------------------------------

// P neighbouring windows of one row, V vectors of filters: 4 sums each, all in registers. What is known when this is
// compiled is not computed: whether the winners are to be KEPT, the WIDTH of a kernel with one channel (0 for all
// others), and that no sum can be other than FINITE.
template <int V, int P, bool KEPT, int WIDTH, bool FINITE>
inline void windows(const Block &b, const float *corner, const float *weight, const float *bias, int64_t filters,
                    float *out, uint8_t *winner) {
    const int64_t k = WIDTH ? WIDTH : b.k, c = WIDTH ? 1 : b.c, row = b.padded_w() * c, run = k * c;
    vf sum[2 * P][2][V];
    for (int v = 0; v < V; v++)
        for (int px = 0; px < 2 * P; px++) sum[px][0][v] = sum[px][1][v] = load(bias + v * L);
    for (int64_t ky = 0; ky < k; ky++) {
        const float *top = corner + ky * row, *bottom = top + row;
        for (int64_t r = 0; r < run; r++, weight += V * L) {
            vf w[V];
            for (int v = 0; v < V; v++) w[v] = load(weight + v * L);
#pragma GCC unroll 8
            for (int px = 0; px < 2 * P; px++) {
                const float x0 = top[px * c + r], x1 = bottom[px * c + r];
                for (int v = 0; v < V; v++) {
                    sum[px][0][v] += x0 * w[v];
                    sum[px][1][v] += x1 * w[v];
                }
            }
        }
    }
    for (int p = 0; p < P; p++)
        for (int v = 0; v < V; v++) {
            const vf candidates[4] = {sum[2 * p][0][v], sum[2 * p + 1][0][v], sum[2 * p][1][v], sum[2 * p + 1][1][v]};
            vf best{};
            vi which = vi{} + 4;
            for (int i = 0; i < 4; i++) {
                vi better = candidates[i] > best;
                if (!FINITE) better |= candidates[i] != candidates[i];  // a NaN wins, as in torch
                best = better ? candidates[i] : best;
                if (KEPT) which = better ? vi{} + i : which;
            }
            const vb won = KEPT ? bytes(which) : vb{};
            const int64_t left = filters - v * L;
            if (left >= L) {
                store(out + p * b.o + v * L, best);
                if (KEPT) *reinterpret_cast<vb_anywhere *>(winner + p * b.o + v * L) = won;
            } else if (left > 0) {
                std::memcpy(out + p * b.o + v * L, &best, left * sizeof(float));
                if (KEPT) std::memcpy(winner + p * b.o + v * L, &won, left);
            }
        }
}

// Kernels as (block of V vectors of filters, ky, kx, c, filter), the last block filled up with zeros; then biases.
constexpr int V = L == 16 ? 1 : 2, P = L == 16 ? 3 : 1;

int64_t forward_floats(const Block &b) { return up(b.o, V * L) * (b.k * b.k * b.c + 1); }

// Of the kernels' channels those that are live, b.c of them; c is how many there are.
float *pack_forward(const Block &b, int64_t c, const int32_t *live, const float *weight, const float *bias,
                    float *packed) {
    const int64_t taps = b.k * b.k, width = up(b.o, V * L);
    std::memset(packed, 0, forward_floats(b) * sizeof(float));
    for (int64_t o = 0; o < b.o; o++)
        for (int64_t i = 0; i < b.c; i++)
            for (int64_t t = 0; t < taps; t++)
                packed[((o / (V * L) * taps + t) * b.c + i) * V * L + o % (V * L)] =
                    weight[(o * c + live[i]) * taps + t];
    float *biases = packed + width * taps * b.c;
    std::memcpy(biases, bias, b.o * sizeof(float));
    return biases;
}

template <bool KEPT, int WIDTH, bool FINITE>
void image_forward(const Block &b, const float *image, const float *packed, const float *biases, float *out,
                   uint8_t *winner) {
    const int64_t ph = b.pooled_h(), pw = b.pooled_w(), taps = b.k * b.k * b.c;
    for (int64_t o = 0; o < b.o; o += V * L)
        for (int64_t py = 0; py < ph; py++) {
            const int64_t at = py * pw * b.o + o;
            const float *corner = image + 2 * py * b.padded_w() * b.c, *w = packed + o * taps;
            const auto piece = [&](auto compute, int64_t px) {
                compute(b, corner + 2 * px * b.c, w, biases + o, b.o - o, out + at + px * b.o,
                        KEPT ? winner + at + px * b.o : nullptr);
            };
            int64_t px = 0;
            for (; px + P <= pw && pw - px != P + 1; px += P) piece(windows<V, P, KEPT, WIDTH, FINITE>, px);
            for (; P > 1 && px + 2 <= pw; px += 2)  // a single one is slow: two twos
                piece(windows<V, 2, KEPT, WIDTH, FINITE>, px);
            for (; px < pw; px++) piece(windows<V, 1, KEPT, WIDTH, FINITE>, px);
        }
}

using ImageForward = void (*)(const Block &, const float *, const float *, const float *, float *, uint8_t *);

template <bool KEPT, bool FINITE>
ImageForward image_forward_for(const Block &b) {
    return b.c == 1 && b.k == 3 ? image_forward<KEPT, 3, FINITE> : image_forward<KEPT, 0, FINITE>;
}

// The sums are those of all channels, bit for bit, where only the live ones are added up: the others would add zeros.
void conv_relu_pool(const Block &given, const float *x, const float *weight, const float *bias, float *out,
                    uint8_t *winner, float *scratch) {
    Block b = given;
    float *packed = scratch, *padded = packed + up(forward_floats(b), 16);
    float *picked = padded + up(image_floats(b), 16);
    int32_t *live = reinterpret_cast<int32_t *>(picked + up(b.h * b.w * b.c, 16));
    b.c = live_columns(b.n * b.h * b.w, given.c, x, 3 * given.c / 4, live);
    const int64_t taps = given.c * b.k * b.k;
    const float most_weight = largest(b.o * taps, weight), most_bias = largest(b.o, bias);
    const bool some = b.c >= 0 && most_weight <= FLT_MAX;
    if (!some) {
        b.c = given.c;
        for (int32_t i = 0; i < b.c; i++) live[i] = i;
    }
    const float *biases = pack_forward(b, given.c, live, weight, bias, packed);
    const int64_t outputs = b.pooled_h() * b.pooled_w() * b.o;
    for (int64_t n = 0; n < b.n; n++, x += b.h * b.w * given.c, out += outputs) {
        if (some) pick_columns(b.h * b.w, given.c, b.c, live, x, picked);
        const float *image = some ? picked : x;
        const float reach = largest(b.h * b.w * b.c, image) * most_weight * taps + most_bias;
        if (b.same) {
            pad_image(b, image, padded);
            image = padded;
        }
        const ImageForward compute = winner ? reach <= FLT_MAX / 2 ? image_forward_for<true, true>(b)
                                                                   : image_forward_for<true, false>(b)
                                     : reach <= FLT_MAX / 2 ? image_forward_for<false, true>(b)
                                                            : image_forward_for<false, false>(b);
        compute(b, image, packed, biases, out, winner ? winner + n * outputs : nullptr);
    }
}

// ---- its backward pass --------------------------------------------------------------------------------------------

bool none_won(const uint8_t *winner) {  // of L filters: networks come to have many that are never positive
    uint32_t words[L / 4], others = 0;
    std::memcpy(words, winner, L);
    for (uint32_t word : words) others |= word ^ 0x04040404;
    return others == 0;
}

#if REGULENS_LANES == 16
inline vf four_by_four(const float *p, int64_t row) {
    const __m256 top = _mm256_loadu2_m128(p + row, p), bottom = _mm256_loadu2_m128(p + 3 * row, p + 2 * row);
    return (vf)_mm512_insertf32x8(_mm512_castps256_ps512(top), bottom, 1);
}
inline vf taken(vf from, vi at) { return (vf)_mm512_permutexvar_ps((__m512i)at, (__m512)from); }
#endif

// One input channel and kernels of 3 x 3: lanes are filters, and all taps stay in registers. Of the four patches of a
// window each lane takes its pixels from the one that won, or, where lanes cannot choose, from all four, times zero.
void backward_one_channel(const Block &b, const float *x, const uint8_t *winner, const float *grad, float *grad_weight,
                          float *grad_bias) {
    constexpr int K = 3;
    const int64_t ph = b.pooled_h(), pw = b.pooled_w();
    for (int64_t o = 0; o + L <= b.o; o += L) {
        vf tap[K * K] = {}, bias = {};
        for (int64_t py = 0; py < ph; py++)
            for (int64_t px = 0; px < pw; px++) {
                const int64_t at = (py * pw + px) * b.o + o;
                if (none_won(winner + at)) continue;
                const vf g = load(grad + at);
                const vi won = widened(winner + at);
                const float *corner = x + 2 * py * b.padded_w() + 2 * px;
                const vf mine = won < 4 ? g : vf{};
                bias += mine;
#if REGULENS_LANES == 16
                const vf patch = four_by_four(corner, b.padded_w());
                const vi first = won + (won & 2);  // where in it the one that won has its patch
#pragma GCC unroll 16
                for (int t = 0; t < K * K; t++) tap[t] += mine * taken(patch, first + (t / K * 4 + t % K));
#else
#pragma GCC unroll 4
                for (int p = 0; p < 4; p++) {
                    const vf mine = won == p ? g : vf{};
                    const float *patch = corner + (p / 2) * b.padded_w() + p % 2;
#pragma GCC unroll 16
                    for (int t = 0; t < K * K; t++) tap[t] += mine * patch[t / K * b.padded_w() + t % K];
                }
#endif
            }
        for (int lane = 0; lane < L; lane++) {
            for (int t = 0; t < K * K; t++) grad_weight[(o + lane) * K * K + t] += tap[t][lane];
            grad_bias[o + lane] += bias[lane];
        }
    }
}

// A pooled value that was positive: where its patch begins in the image, and its gradient.
struct Won {
    int32_t at;
    float grad;
};

int64_t list_winners(const Block &b, const uint8_t *winner, const float *grad, int64_t o, Won *list, float *sum) {
    const int32_t row = b.padded_w() * b.c, column = b.c;
    const int32_t offset[5] = {0, column, row, row + column, 0};
    const int64_t ph = b.pooled_h(), pw = b.pooled_w();
    int64_t count = 0;
    for (int64_t py = 0; py < ph; py++) {
        int32_t at = 2 * py * row;
        for (int64_t px = 0; px < pw; px++, at += 2 * column) {
            const int64_t i = (py * pw + px) * b.o + o;
            list[count] = {at + offset[winner[i]], grad[i]};
            count += winner[i] < 4;  // no branch: which of them won is anyone's guess
        }
    }
    float total = 0;
    for (int64_t i = 0; i < count; i++) total += list[i].grad;
    *sum += total;
    return count;
}

// For ROWS rows of one filter's kernel and N vectors of each: the sum over winners of gradient * patch ...
template <int ROWS, int N>
inline void add_patches(const Won *list, int64_t count, const float *image, int64_t row, float *grad_weight,
                        int64_t width) {
    vf sum[ROWS][N] = {};
    for (int64_t i = 0; i < count; i++) {
        const float *patch = image + list[i].at;
        const vf g = all(list[i].grad);
        for (int y = 0; y < ROWS; y++)
            for (int j = 0; j < N; j++) sum[y][j] += g * load(patch + y * row + j * L);
    }
    for (int y = 0; y < ROWS; y++)
        for (int j = 0; j < N; j++) {
            float *to = grad_weight + y * width + j * L;
            store(to, load(to) + sum[y][j]);
        }
}

// ... and gradient * kernel added to the patches of the input's gradient.
template <int ROWS, int N>
inline void add_kernels(const Won *list, int64_t count, float *image, int64_t row, const float *weight,
                        int64_t width) {
    vf w[ROWS][N];
    for (int y = 0; y < ROWS; y++)
        for (int j = 0; j < N; j++) w[y][j] = load(weight + y * width + j * L);
    for (int64_t i = 0; i < count; i++) {
        float *patch = image + list[i].at;
        const vf g = all(list[i].grad);
        for (int y = 0; y < ROWS; y++)
            for (int j = 0; j < N; j++) {
                float *to = patch + y * row + j * L;
                store(to, load(to) + g * w[y][j]);
            }
    }
}

struct Pass {
    const Won *list;
    int64_t count, row, width;
    const float *image, *weight;
    float *grad_image, *grad_weight;
};

template <int ROWS, int N>
void tile(const Pass &p, int64_t y, int64_t at) {
    const int64_t kernel = y * p.width + at, patch = y * p.row + at;
    add_patches<ROWS, N>(p.list, p.count, p.image + patch, p.row, p.grad_weight + kernel, p.width);
    if (p.grad_image)
        add_kernels<ROWS, N>(p.list, p.count, p.grad_image + patch, p.row, p.weight + kernel, p.width);
}

template <int ROWS, int N>
void tiles_of_rows(const Pass &p, int64_t y) {  // the row in pieces of N vectors, then of fewer
    int64_t at = 0;
    for (; at + N * L <= p.width; at += N * L) tile<ROWS, N>(p, y, at);
    for (; at < p.width; at += L) tile<ROWS, 1>(p, y, at);
}

template <int ROWS>
void rows(const Pass &p, int64_t y) {
    const int64_t vectors = p.width / L;
    constexpr int most = MANY / ROWS;
    if (most >= 8 && vectors % 8 == 0) return tiles_of_rows<ROWS, 8 <= most ? 8 : 1>(p, y);
    if (most >= 6 && vectors % 6 == 0) return tiles_of_rows<ROWS, 6 <= most ? 6 : 1>(p, y);
    if (vectors % 4 == 0) return tiles_of_rows<ROWS, 4 <= most ? 4 : 1>(p, y);
    if (vectors % 3 == 0) return tiles_of_rows<ROWS, 3 <= most ? 3 : 1>(p, y);
    if (vectors == 1) return tiles_of_rows<ROWS, 1>(p, y);
    tiles_of_rows<ROWS, 2>(p, y);
}

int64_t width_of(const Block &b) { return up(b.k * b.c, L); }  // of a kernel's row (kx, c), filled up with zeros
int64_t backward_floats(const Block &b) { return b.o * b.k * width_of(b); }

void pack_backward(const Block &b, const float *weight, float *packed) {
    std::memset(packed, 0, backward_floats(b) * sizeof(float));
    for (int64_t o = 0; o < b.o; o++)
        for (int64_t c = 0; c < b.c; c++)
            for (int64_t ky = 0; ky < b.k; ky++)
                for (int64_t kx = 0; kx < b.k; kx++)
                    packed[(o * b.k + ky) * width_of(b) + kx * b.c + c] = *weight++;
}

void unpack_backward(const Block &b, const float *packed, float *weight) {
    for (int64_t o = 0; o < b.o; o++)
        for (int64_t c = 0; c < b.c; c++)
            for (int64_t ky = 0; ky < b.k; ky++)
                for (int64_t kx = 0; kx < b.k; kx++)
                    *weight++ = packed[(o * b.k + ky) * width_of(b) + kx * b.c + c];
}

void backward_image(const Block &b, Pass &p, const uint8_t *winner, const float *grad, Won *list, const float *weight,
                    float *grad_weight, float *grad_bias) {
    for (int64_t o = 0; o < b.o; o++) {
        p.count = list_winners(b, winner, grad, o, list, grad_bias + o);
        p.list = list;
        p.weight = weight + o * b.k * p.width;
        p.grad_weight = grad_weight + o * b.k * p.width;
        int64_t y = 0;
        for (; L == 16 && y + 3 <= b.k; y += 3) rows<3>(p, y);
        for (; y < b.k; y++) rows<1>(p, y);
    }
}

void conv_relu_pool_backward(const Block &b, const float *x, const float *weight, const uint8_t *winner,
                             const float *grad, float *grad_x, float *grad_weight, float *grad_bias, float *scratch) {
    const int64_t image = b.h * b.w * b.c, windows = b.pooled_h() * b.pooled_w(), outputs = windows * b.o;
    const int64_t floats = up(backward_floats(b), 16);
    float *packed = scratch, *sums = packed + floats, *padded = sums + floats;
    float *grad_padded = padded + up(image_floats(b), 16);
    Won *list = reinterpret_cast<Won *>(grad_padded + up(image_floats(b), 16));
    std::memset(grad_bias, 0, b.o * sizeof(float));
    if (b.c == 1 && b.k == 3 && b.o % L == 0 && !grad_x) {
        std::memset(grad_weight, 0, 9 * b.o * sizeof(float));
        for (int64_t n = 0; n < b.n; n++) {
            if (b.same) pad_image(b, x + n * image, padded);
            backward_one_channel(b, b.same ? padded : x + n * image, winner + n * outputs, grad + n * outputs,
                                 grad_weight, grad_bias);
        }
        return;
    }
    pack_backward(b, weight, packed);
    std::memset(sums, 0, backward_floats(b) * sizeof(float));
    const bool direct = in_place(b);
    Pass p{};
    p.width = width_of(b);
    p.row = b.padded_w() * b.c;
    for (int64_t n = 0; n < b.n; n++) {
        if (!direct) pad_image(b, x + n * image, padded);
        p.image = direct ? x + n * image : padded;
        p.grad_image = !grad_x ? nullptr : direct ? grad_x + n * image : grad_padded;
        if (grad_x) std::memset(p.grad_image, 0, (direct ? image : image_floats(b)) * sizeof(float));
        backward_image(b, p, winner + n * outputs, grad + n * outputs, list, packed, sums, grad_bias);
        if (grad_x && !direct) unpad_image(b, grad_padded, grad_x + n * image);
    }
    unpack_backward(b, sums, grad_weight);
}

int64_t conv_scratch(const Block &b) {
    const int64_t windows = b.pooled_h() * b.pooled_w(), image = up(image_floats(b), 16);
    const int64_t forward = up(forward_floats(b), 16) + image + up(b.h * b.w * b.c, 16) + up(b.c, 16);
    const int64_t backward = 2 * up(backward_floats(b), 16) + 2 * image + 2 * (windows + 1);
    return forward > backward ? forward : backward;
}

// ---- batch norm ---------------------------------------------------------------------------------------------------

constexpr int64_t CHUNK = 128;  // rows summed in float32 before the sum is taken over in float64

// T is a vector of channels, or one channel where fewer than a vector are left.
template <class T>
struct Lanes;
template <>
struct Lanes<vf> {
    static constexpr int count = L;
    static vf get(const float *p) { return load(p); }
    static void put(float *p, vf v) { store(p, v); }
    static float lane(vf v, int i) { return v[i]; }
};
template <>
struct Lanes<float> {
    static constexpr int count = 1;
    static float get(const float *p) { return *p; }
    static void put(float *p, float v) { *p = v; }
    static float lane(float v, int) { return v; }
};

template <class T>
T mean_of(const double *totals, int64_t rows) {
    float means[Lanes<T>::count];
    for (int i = 0; i < Lanes<T>::count; i++) means[i] = static_cast<float>(totals[i] / static_cast<double>(rows));
    return Lanes<T>::get(means);
}

template <class T>
void normalise(int64_t rows, int64_t c, const float *x, const float *gamma, const float *beta, double epsilon,
               float *out, float *mean, float *variance) {
    using At = Lanes<T>;
    double totals[At::count] = {};
    const T first = At::get(x);  // what is far from zero is summed as the distance from it
    for (int64_t from = 0; from < rows; from += CHUNK) {
        const int64_t to = from + CHUNK < rows ? from + CHUNK : rows;
        T sum{};
        for (int64_t r = from; r < to; r++) sum += At::get(x + r * c) - first;
        for (int i = 0; i < At::count; i++) totals[i] += At::lane(sum, i);
    }
    const T centre = first + mean_of<T>(totals, rows);
    std::memset(totals, 0, sizeof totals);
    for (int64_t from = 0; from < rows; from += CHUNK) {
        const int64_t to = from + CHUNK < rows ? from + CHUNK : rows;
        T sum{};
        for (int64_t r = from; r < to; r++) {
            const T d = At::get(x + r * c) - centre;
            sum += d * d;
        }
        for (int i = 0; i < At::count; i++) totals[i] += At::lane(sum, i);
    }
    const T spread = mean_of<T>(totals, rows);
    At::put(mean, centre);
    At::put(variance, spread);
    float scales[At::count];
    for (int i = 0; i < At::count; i++)
        scales[i] = static_cast<float>(gamma[i] / std::sqrt(At::lane(spread, i) + epsilon));
    const T scale = At::get(scales), shift = At::get(beta);
    for (int64_t r = 0; r < rows; r++) At::put(out + r * c, (At::get(x + r * c) - centre) * scale + shift);
}

void batch_norm(int64_t rows, int64_t c, const float *x, const float *gamma, const float *beta, double epsilon,
                float *out, float *mean, float *variance) {
    int64_t i = 0;
    for (; i + L <= c; i += L)
        normalise<vf>(rows, c, x + i, gamma + i, beta + i, epsilon, out + i, mean + i, variance + i);
    for (; i < c; i++)
        normalise<float>(rows, c, x + i, gamma + i, beta + i, epsilon, out + i, mean + i, variance + i);
}

template <class T>
void normalise_backward(int64_t rows, int64_t c, const float *grad, const float *x, const float *gamma,
                        const float *mean, const float *variance, double epsilon, float *grad_x, float *grad_gamma,
                        float *grad_beta) {
    using At = Lanes<T>;
    const T centre = At::get(mean);
    double of_shift[At::count] = {}, of_scale[At::count] = {};
    for (int64_t from = 0; from < rows; from += CHUNK) {
        const int64_t to = from + CHUNK < rows ? from + CHUNK : rows;
        T plain{}, weighted{};
        for (int64_t r = from; r < to; r++) {
            const T g = At::get(grad + r * c);
            plain += g;
            weighted += g * (At::get(x + r * c) - centre);
        }
        for (int i = 0; i < At::count; i++) {
            of_shift[i] += At::lane(plain, i);
            of_scale[i] += At::lane(weighted, i);
        }
    }
    // With d = x - mean and s = 1 / sqrt(variance + epsilon):
    // grad_x = gamma s (g - mean(g) - d s^2 mean(g d)), written a g + e - d f
    float a[At::count], e[At::count], f[At::count];
    for (int i = 0; i < At::count; i++) {
        const double s = 1 / std::sqrt(variance[i] + epsilon), n = static_cast<double>(rows);
        grad_beta[i] = static_cast<float>(of_shift[i]);
        grad_gamma[i] = static_cast<float>(of_scale[i] * s);
        a[i] = static_cast<float>(gamma[i] * s);
        e[i] = static_cast<float>(-gamma[i] * s * of_shift[i] / n);
        f[i] = static_cast<float>(gamma[i] * s * s * s * of_scale[i] / n);
    }
    const T va = At::get(a), ve = At::get(e), vf_ = At::get(f);
    for (int64_t r = 0; r < rows; r++)
        At::put(grad_x + r * c, va * At::get(grad + r * c) + (ve - (At::get(x + r * c) - centre) * vf_));
}

void batch_norm_backward(int64_t rows, int64_t c, const float *grad, const float *x, const float *gamma,
                         const float *mean, const float *variance, double epsilon, float *grad_x, float *grad_gamma,
                         float *grad_beta) {
    int64_t i = 0;
    for (; i + L <= c; i += L)
        normalise_backward<vf>(rows, c, grad + i, x + i, gamma + i, mean + i, variance + i, epsilon, grad_x + i,
                               grad_gamma + i, grad_beta + i);
    for (; i < c; i++)
        normalise_backward<float>(rows, c, grad + i, x + i, gamma + i, mean + i, variance + i, epsilon, grad_x + i,
                                  grad_gamma + i, grad_beta + i);
}

// ---- loss and batches ---------------------------------------------------------------------------------------------

void cross_entropy(int64_t rows, int64_t c, const float *logits, const int64_t *labels, float *loss, int64_t *hits,
                   float *grad) {
    double total = 0;
    int64_t right = 0;
    const float share = 1 / static_cast<float>(rows);
    for (int64_t r = 0; r < rows; r++, logits += c, grad += c) {
        int64_t largest = 0;
        for (int64_t i = 1; i < c; i++)
            if (logits[i] > logits[largest] || (logits[i] != logits[i] && logits[largest] == logits[largest]))
                largest = i;
        const float top = logits[largest];
        double sum = 0;
        for (int64_t i = 0; i < c; i++) sum += grad[i] = std::exp(logits[i] - top);
        total += std::log(sum) - (static_cast<double>(logits[labels[r]]) - top);
        right += largest == labels[r];
        const float each = share / static_cast<float>(sum);
        for (int64_t i = 0; i < c; i++) grad[i] *= each;
        grad[labels[r]] -= share;
    }
    *loss = static_cast<float>(total / static_cast<double>(rows));
    *hits = right;
}

void gather(int64_t count, int64_t size, const uint8_t *images, const int64_t *chosen, float scale, float *out) {
    constexpr int64_t ahead = 4, line = 64;  // images are anywhere in memory: the next ones are fetched meanwhile
    for (int64_t i = 0; i < count; i++, out += size) {
        const uint8_t *image = images + chosen[i] * size;
        if (i + ahead < count)
            for (int64_t at = 0; at < size; at += line) __builtin_prefetch(images + chosen[i + ahead] * size + at);
        for (int64_t p = 0; p < size; p++) out[p] = static_cast<float>(image[p]) * scale;
    }
}

// ---- dropout ------------------------------------------------------------------------------------------------------

inline vu rotate(vu v, int by) { return (v << by) | (v >> (32 - by)); }

inline void threefry(vu &a, vu &b, uint32_t key0, uint32_t key1) {
    const uint32_t keys[3] = {key0, key1, 0x1BD11BDAu ^ key0 ^ key1};
    constexpr int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    a += keys[0];
    b += keys[1];
#pragma GCC unroll 20
    for (int round = 0; round < 20; round++) {
        a += b;
        b = rotate(b, rotations[round % 8]) ^ a;
        if (round % 4 == 3) {
            const uint32_t injection = round / 4 + 1;
            a += keys[injection % 3];
            b += keys[(injection + 1) % 3] + injection;
        }
    }
}

void dropout(int64_t size, const float *x, uint32_t key0, uint32_t key1, uint32_t step, uint32_t threshold,
             float scale, float *out) {
    vu lanes;
    for (int i = 0; i < L; i++) lanes[i] = i;
    const vu bound = vu{} + threshold;
    for (int64_t block = 0; block * 64 < size; block++)
        for (int j = 0; j < 16; j += L) {
            vu a = lanes + static_cast<uint32_t>(block * 16 + j), b = vu{} + step;
            threefry(a, b, key0, key1);
            const vu bits[4] = {a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16};
            for (int k = 0; k < 4; k++) {
                const int64_t at = block * 64 + k * 16 + j;
                const vf factor = bits[k] >= bound ? all(scale) : vf{};
                if (at + L <= size)
                    store(out + at, load(x + at) * factor);
                else
                    for (int i = 0; at + i < size; i++) out[at + i] = x[at + i] * factor[i];
            }
        }
}

}  // namespace

#define REGULENS_TEXT_(name) #name
#define REGULENS_TEXT(name) REGULENS_TEXT_(name)

extern const Kernels REGULENS_ISA = {
    REGULENS_TEXT(REGULENS_ISA), conv_relu_pool, conv_relu_pool_backward, conv_scratch,    batch_norm,
    batch_norm_backward,         live_columns,   spread_columns,          all_finite,      cross_entropy,
    gather,                      dropout,
};

}  // namespace regulens
