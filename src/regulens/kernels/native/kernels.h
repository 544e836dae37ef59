// The native kernels: one table of functions, made once per instruction set from the same source (kernels.cpp).
//
// Activations are (N, H, W, C) float32 and contiguous, kernels (O, C, K, K) as torch stores them. Nothing here knows
// of Python or torch: plain pointers and sizes, checked by whoever calls.
#pragma once

#include <cstdint>

namespace regulens {

// Inlined always: a copy made for one instruction set must not be the one that the linker keeps for all.
#define REGULENS_INLINE __attribute__((always_inline))

// The sizes of a convolution block: images n of h x w x c, o filters of k x k, zero padding as Keras' "same" or none.
struct Block {
    int64_t n, h, w, c, o, k;
    bool same;

    REGULENS_INLINE int64_t padding() const { return same ? k - 1 : 0; }         // zeros added to each axis
    REGULENS_INLINE int64_t padding_before() const { return padding() / 2; }     // of these, on the left and at the top
    REGULENS_INLINE int64_t padded_h() const { return h + padding(); }
    REGULENS_INLINE int64_t padded_w() const { return w + padding(); }
    REGULENS_INLINE int64_t pooled_h() const { return (padded_h() - k + 1) / 2; }  // an odd last row or column is left out
    REGULENS_INLINE int64_t pooled_w() const { return (padded_w() - k + 1) / 2; }
};

struct Kernels {
    const char *isa;

    // out (N, PH, PW, O): max over 2 x 2 of relu(conv(x) + bias). winner (the same shape, or null): which of the four
    // it was, row by row, or 4 where none was positive; the first among equals.
    void (*conv_relu_pool)(const Block &, const float *x, const float *weight, const float *bias, float *out,
                           uint8_t *winner, float *scratch);
    // The gradients by kernel, bias and (unless null) input, from the gradient of the output and the winners.
    void (*conv_relu_pool_backward)(const Block &, const float *x, const float *weight, const uint8_t *winner,
                                    const float *grad, float *grad_x, float *grad_weight, float *grad_bias,
                                    float *scratch);
    int64_t (*conv_scratch)(const Block &);  // floats that either of the two needs

    // out (rows, c): x normalised over the rows by their mean and biased variance, which are returned (c) each.
    void (*batch_norm)(int64_t rows, int64_t c, const float *x, const float *gamma, const float *beta, double epsilon,
                       float *out, float *mean, float *variance);
    // grad_x may be grad.
    void (*batch_norm_backward)(int64_t rows, int64_t c, const float *grad, const float *x, const float *gamma,
                                const float *mean, const float *variance, double epsilon, float *grad_x,
                                float *grad_gamma, float *grad_beta);

    // The columns of x that are not zero in all rows, written to live (columns); returns how many there are, or -1 if
    // they are more than most.
    int64_t (*live_columns)(int64_t rows, int64_t columns, const float *x, int64_t most, int32_t *live);
    // out (rows, columns): x (rows, count) in the columns live (count), zeros elsewhere.
    void (*spread_columns)(int64_t rows, int64_t columns, int64_t count, const int32_t *live, const float *x,
                           float *out);
    bool (*all_finite)(int64_t size, const float *x);  // neither infinite nor no number

    // The mean over rows of -log softmax(logits)[label], its gradient by the logits (rows, c), and how often the label
    // has the largest logit (the first of equals, a NaN above all). Labels are below c.
    void (*cross_entropy)(int64_t rows, int64_t c, const float *logits, const int64_t *labels, float *loss,
                          int64_t *hits, float *grad);

    // out (count, size) = images[chosen] * scale, images being (n, size); chosen are below n.
    void (*gather)(int64_t count, int64_t size, const uint8_t *images, const int64_t *chosen, float scale, float *out);

    // out, which may be x, = x * scale where the element's 16 random bits are at least threshold, else x * 0. The bits
    // are those of Threefry-2x32-20 (Salmon et al. 2011) with this key and the counters (16 * (i / 64) + i % 16, step).
    void (*dropout)(int64_t size, const float *x, uint32_t key0, uint32_t key1, uint32_t step, uint32_t threshold,
                    float scale, float *out);
};

extern const Kernels baseline;
#ifdef REGULENS_X86
extern const Kernels avx2;
extern const Kernels avx512;
#endif

}  // namespace regulens
