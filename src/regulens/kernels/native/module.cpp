// The Python module regulens.kernels._native: chooses the instruction set and passes pointers on.
//
// Arrays come as addresses of contiguous memory; regulens.kernels.ops checks type, layout, device and shape of the
// tensors they belong to. Sizes are checked here once more: whatever they are, nothing is read beyond them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace regulens {
namespace {

std::vector<const Kernels *> levels() {  // that this processor has, the lowest first
    std::vector<const Kernels *> found = {&baseline};
#ifdef REGULENS_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&avx2);
    if (found.size() == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        found.push_back(&avx512);
#endif
    return found;
}

const Kernels *in_use = levels().back();

void use(const std::string &isa) {
    for (const Kernels *level : levels())
        if (isa == level->isa) {
            in_use = level;
            return;
        }
    throw std::invalid_argument("instruction set " + isa + ": this processor or build has no such level");
}

std::vector<std::string> supported() {
    std::vector<std::string> names;
    for (const Kernels *level : levels()) names.emplace_back(level->isa);
    return names;
}

using Address = uintptr_t;
const float *in(Address a) { return reinterpret_cast<const float *>(a); }
float *out(Address a) { return reinterpret_cast<float *>(a); }

struct Free {
    void operator()(float *p) const { std::free(p); }
};
std::unique_ptr<float, Free> scratch_for(const Block &b) {
    const int64_t bytes = (in_use->conv_scratch(b) * 4 + 63) / 64 * 64;
    auto *memory = static_cast<float *>(std::aligned_alloc(64, bytes));
    if (!memory) throw std::bad_alloc();
    return std::unique_ptr<float, Free>(memory);
}

Block block(int64_t n, int64_t h, int64_t w, int64_t c, int64_t o, int64_t k, bool same) {
    const Block b{n, h, w, c, o, k, same};
    if (n < 0 || h < 1 || w < 1 || c < 1 || o < 1 || k < 1 || k > 7)
        throw std::invalid_argument("sizes must be positive and the kernel 1 to 7 wide");
    constexpr int64_t many = 1 << 20;  // no product of sizes below comes near the limits of int64
    if (n > INT32_MAX || h > many || w > many || c > many || o > many) throw std::invalid_argument("sizes are absurd");
    if (b.pooled_h() < 1 || b.pooled_w() < 1) throw std::invalid_argument("nothing is left of the image to pool");
    if (b.padded_h() * b.padded_w() * c > INT32_MAX / 2) throw std::invalid_argument("the image is too large");
    return b;
}

void conv_relu_pool(const Block &b, Address x, Address weight, Address bias, Address y, Address winner) {
    in_use->conv_relu_pool(b, in(x), in(weight), in(bias), out(y), reinterpret_cast<uint8_t *>(winner),
                           scratch_for(b).get());
}

void conv_relu_pool_backward(const Block &b, Address x, Address weight, Address winner, Address grad, Address grad_x,
                             Address grad_weight, Address grad_bias) {
    in_use->conv_relu_pool_backward(b, in(x), in(weight), reinterpret_cast<const uint8_t *>(winner), in(grad),
                                    out(grad_x), out(grad_weight), out(grad_bias), scratch_for(b).get());
}

void batch_norm(int64_t rows, int64_t c, Address x, Address gamma, Address beta, double epsilon, Address y,
                Address mean, Address variance) {
    in_use->batch_norm(rows, c, in(x), in(gamma), in(beta), epsilon, out(y), out(mean), out(variance));
}

void batch_norm_backward(int64_t rows, int64_t c, Address grad, Address x, Address gamma, Address mean,
                         Address variance, double epsilon, Address grad_x, Address grad_gamma, Address grad_beta) {
    in_use->batch_norm_backward(rows, c, in(grad), in(x), in(gamma), in(mean), in(variance), epsilon, out(grad_x),
                                out(grad_gamma), out(grad_beta));
}

template <class Integer>
void check_below(const Integer *values, int64_t count, int64_t end, const char *what) {
    for (int64_t i = 0; i < count; i++)
        if (values[i] < 0 || values[i] >= end)
            throw nb::index_error((std::string(what) + " " + std::to_string(values[i]) + " is not in [0, " +
                                   std::to_string(end) + ")").c_str());
}

int64_t live_columns(int64_t rows, int64_t columns, Address x, int64_t most, Address live) {
    return in_use->live_columns(rows, columns, in(x), most, reinterpret_cast<int32_t *>(live));
}

void spread_columns(int64_t rows, int64_t columns, int64_t count, Address live, Address x, Address y) {
    const auto *at = reinterpret_cast<const int32_t *>(live);
    check_below(at, count, columns, "column");
    in_use->spread_columns(rows, columns, count, at, in(x), out(y));
}

bool all_finite(int64_t size, Address x) { return in_use->all_finite(size, in(x)); }

void cross_entropy(int64_t rows, int64_t c, Address logits, Address labels, Address loss, Address hits, Address grad) {
    const auto *at = reinterpret_cast<const int64_t *>(labels);
    check_below(at, rows, c, "cross_entropy: label");
    in_use->cross_entropy(rows, c, in(logits), at, out(loss), reinterpret_cast<int64_t *>(hits), out(grad));
}

void gather(int64_t count, int64_t n, int64_t size, Address images, Address chosen, float scale, Address y) {
    const auto *at = reinterpret_cast<const int64_t *>(chosen);
    check_below(at, count, n, "gather: index");
    in_use->gather(count, size, reinterpret_cast<const uint8_t *>(images), at, scale, out(y));
}

void dropout(int64_t size, Address x, uint64_t key, uint32_t step, uint32_t threshold, float scale, Address y) {
    in_use->dropout(size, in(x), static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32), step, threshold, scale,
                    out(y));
}

}  // namespace

NB_MODULE(_native, m) {
    nb::set_leak_warnings(false);  // a graph that lives to the end of the process keeps its Block
    m.def("levels", supported, "The instruction sets that this processor and this build have, the lowest first.");
    m.def("use", use, "isa"_a, "Use the kernels of one of the levels.");
    m.def("isa", [] { return std::string(in_use->isa); }, "The level in use.");
    nb::class_<Block>(m, "Block", "The checked sizes of a convolution block.")
        .def("__init__", [](Block *self, int64_t n, int64_t h, int64_t w, int64_t c, int64_t o, int64_t k,
                            bool same) { new (self) Block(block(n, h, w, c, o, k, same)); })
        .def_prop_ro("pooled_h", &Block::pooled_h)
        .def_prop_ro("pooled_w", &Block::pooled_w);
    const auto free_gil = nb::call_guard<nb::gil_scoped_release>();
    m.def("conv_relu_pool", conv_relu_pool, free_gil);
    m.def("conv_relu_pool_backward", conv_relu_pool_backward, free_gil);
    m.def("batch_norm", batch_norm, free_gil);
    m.def("batch_norm_backward", batch_norm_backward, free_gil);
    m.def("live_columns", live_columns, free_gil);
    m.def("all_finite", all_finite, free_gil);
    m.def("spread_columns", spread_columns);  // these three may raise, which needs the lock; they are short
    m.def("cross_entropy", cross_entropy);
    m.def("gather", gather);
    m.def("dropout", dropout, free_gil);
}

}  // namespace regulens
