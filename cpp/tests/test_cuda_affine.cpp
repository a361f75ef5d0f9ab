// The device's products of an affine layer, emulated, against plain loops in double: each tile with each number of parts
// of the sum, in each precision, around all of their edges; few rows; the choices that the table makes; operands and results
// that are not aligned or have gaps between rows; every activation, sink and update rule, with the replay's constants; the
// same bits twice; and nothing written beside the results.
#include <cmath>
#include <cstdio>

#include "device_affine.h"
#include "tile_plan.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::cuda;
using namespace fastmlp::testing;

// One tile with results and sums at its edges, in all products.
template <class T>
void test_tile(TileKind tile, Index rows, Index columns, Index depth, Index parts, Precision precision, Index gap,
               Index offset) {
  const TilePlan plan = tile_plan_of(tile, rows, columns, depth, parts);
  Affine<T>({rows, columns, depth, precision, gap, offset, &plan}).forward();
  Affine<T>({rows, depth, columns, precision, gap, offset, &plan}).input();
  Affine<T>({depth, columns, rows, precision, gap, offset, &plan}).weight();
  Affine<T>({rows, columns, depth, precision, gap, offset, &plan}).chosen(true, false);
  Affine<T>({depth, columns, rows, precision, gap, offset, &plan}).chosen(false, true);
}

template <class T>
void test_tiles(Precision precision) {
  for (const TileKind tile : {TileKind::Large, TileKind::Medium, TileKind::Small}) {
    if (tile == TileKind::Large && sizeof(T) == 8) continue;
    const Index side = tile == TileKind::Large ? 128 : tile == TileKind::Medium ? 64 : 32;
    const Index piece = tile == TileKind::Large ? 16 : 128 / static_cast<Index>(sizeof(T));
    test_tile<T>(tile, side, side + 1, 3 * piece, 1, precision, 0, 0);
    test_tile<T>(tile, side, side, 9 * piece, 1, precision, 0, 0);
    test_tile<T>(tile, 70, 35, 6 * piece + 4, 2, precision, 0, 0);
    test_tile<T>(tile, side + 1, side - 1, piece + 1, 1, precision, 0, 0);
    test_tile<T>(tile, side - 3, side + 4, 2 * piece - 1, 1, precision, 3, 0);
    test_tile<T>(tile, side + 4, side - 4, 2 * piece + 4, 1, precision, 4, 0);
    test_tile<T>(tile, 1, side + 2, 3, 1, precision, 0, 1);
    test_tile<T>(tile, side, 1, 1, 1, precision, 0, 0);
    test_tile<T>(tile, 5, side + 4, 3 * piece + 5, 3, precision, 0, 0);
    test_tile<T>(tile, side + 5, 8, 5 * piece, 4, precision, 1, 1);
  }
}

void test_rounding() {
  const auto tf32 = [](float x) { return TF32::value(TF32::word(x), 0); };
  const auto bf16 = [](float x) { return BF16::value(BF16::word(0, x), 1); };
  const float infinity = HUGE_VALF;
  // Ties: away from zero, and to even.
  bool fine = tf32(1 + 0x1p-11f) == 1 + 0x1p-10f && tf32(-1 - 0x1p-11f) == -1 - 0x1p-10f;
  fine &= tf32(1 + 0x1p-12f) == 1 && tf32(1 + 0x1p-10f) == 1 + 0x1p-10f && tf32(infinity) == infinity;
  fine &= bf16(1 + 0x1p-8f) == 1 && bf16(1 + 0x3p-8f) == 1 + 0x1p-6f && bf16(-infinity) == -infinity;
  fine &= bf16(1 + 0x1p-8f + 0x1p-20f) == 1 + 0x1p-7f && bf16(0x1.fffffep127f) == infinity;
  fine &= std::isnan(tf32(NAN)) && std::isnan(bf16(NAN));
  check<float>(fine, "rounding", {});
}

template <class T>
void test() {
  for (const Precision precision : {Precision::Float32, Precision::TF32, Precision::BF16, Precision::Float32x3}) {
    if (sizeof(T) == 8 && precision != Precision::Float32) continue;
    test_tiles<T>(precision);
    // The table's choices.
    Affine<T>({9, 33, 70, precision}).all();
    Affine<T>({64, 48, 1000, precision}).all();
    Affine<T>({20, 10, 300, precision, 0, 1}).all();
    Affine<T>({130, 1, 40, precision}).all();
    Affine<T>({5, 36, 40, precision}).all();
    Affine<T>({64, 48, 300, precision}).chosen(true, true);
    Affine<T>({40, 36, 5, precision}).sinks();
    const TilePlan split = tile_plan_of(TileKind::Small, 36, 37, 130, 2);
    Affine<T>({130, 37, 36, precision, 0, 0, &split}).sinks();
    const TilePlan medium = tile_plan_of(TileKind::Medium, 36, 37, 20, 1);
    Affine<T>({20, 37, 36, precision, 0, 1, &medium}).sinks();
    Affine<T>({17, 20, 24, precision}).activations();
    Affine<T>({17, 19, 23, precision, 1, 1}).activations();
    const TilePlan sums = tile_plan_of(TileKind::Small, 33, 40, 40, 3);
    Affine<T>({33, 40, 40, precision, 0, 0, &sums}).activations();
  }
  // Long sums and many outputs of few rows: with and without vectors, whole and shared sums.
  for (const Index M : {1, 2, 4, 5, 8})
    for (const Index N : {1, 2, 3, 4, 8, 10, 32, 33, 36, 100})
      for (const Index K : {1, 7, 300, 2100}) Affine<T>({M, N, K}).forward();
  for (const Index M : {1, 3, 8}) {
    Affine<T>({M, 1030, 40}).forward();
    Affine<T>({M, 4096, 65}).forward();
    Affine<T>({M, 64, 700, Precision::Float32, 2, 0}).forward();
    Affine<T>({M, 64, 700, Precision::Float32, 1, 1}).forward();
    Affine<T>({M, 12, 600, Precision::Float32, 1, 0}).activations();
  }
  Affine<T>({3, 40, 2000, Precision::BF16}).forward();
  Affine<T>({2000, 5, 3}).weight();  // long column sums
  Affine<T>({300, 100, 3}).weight();
}

}  // namespace

int main() {
  test_rounding();
  test<float>();
  test<double>();
  return report();
}
