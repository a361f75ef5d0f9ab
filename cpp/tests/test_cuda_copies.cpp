// What the large products of the CUDA backend do on the host, or can be shown there: which copies of operands are taken for
// good; how the lanes of a warp sum up columns.
#include <cstdlib>
#include <vector>

#include "cuda/large/large.h"
#include "cuda/large/large_column_sums.h"
#include "cuda/large/large_copies.h"
#include "cuda/large/round_rows.h"
#include "expect.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

void test_copies() {
  using cuda::Copies;
  using cuda::Copy;
  using cuda::Moment;
  Copies copies;
  const float a[4] = {}, b[4] = {};
  std::vector<Index> allocated;
  const auto allocate = [&](const cuda::Matrix& of) {
    allocated.push_back(of.size());
    return std::malloc(static_cast<std::size_t>(of.size()));
  };
  expect(!copies.find_or_make({a, 2, 2, 2}, [](const cuda::Matrix&) -> void* { return nullptr; }),
         "no copy without memory");
  expect(!copies.find({a, 2, 2, 2}), "no copy was made");
  Copy* const first = copies.find_or_make({a, 2, 2, 2}, allocate);
  expect(first && copies.find_or_make({a, 2, 2, 2}, allocate) == first, "one copy of a matrix");
  Copy* const second = copies.find_or_make({a, 1, 4, 4}, allocate);
  expect(second && second != first && second->memory != first->memory, "another shape, another copy");
  expect(allocated == std::vector<Index>{4, 4}, "copies have the size of their matrices");
  copies.find_or_make({b, 2, 2, 2}, allocate);

  const Moment now{7, 3, 100};
  expect(!first->fresh(now) && !first->kept(now), "a new copy holds nothing");
  first->made(now);
  expect(first->fresh(now) && !first->kept(now), "fresh right away");
  expect(!first->fresh({7, 3, 101}) && !first->fresh({7, 4, 100}) && !first->fresh({8, 3, 100}),
         "not fresh after another kernel, in another step or recording");
  first->keep(now);
  expect(first->fresh(now) && first->kept({7, 3, 200}), "kept until the step's end");
  expect(!first->kept({7, 4, 100}) && !first->kept({8, 3, 100}), "and no longer");
  first->keep({7, 4, 100});
  expect(!first->kept(now) && first->kept({7, 4, 105}), "kept for the next step");
  first->keep({0, 0, 0});
  expect(!first->kept({0, 0, 0}) && !first->fresh({0, 0, 0}), "nothing is known outside of recordings");

  first->made(now, true);
  expect(first->summed(now) && !first->summed({7, 3, 101}), "column sums are those of a fresh copy");
  first->made(now);
  expect(first->fresh(now) && !first->summed(now), "which need not have them");

  // A weight outside of recordings: of one parameter, in one state, in one stream.
  int here = 0, there = 0;
  const cuda::Source held{{4, 9}, &here};
  expect(!first->holds({}) && !first->holds(held), "a copy holds no state at first");
  first->hold(held);
  first->hold({});
  expect(first->holds(held), "the state that it was made of, whatever was made of unknown ones");
  expect(!first->holds({{4, 10}, &here}) && !first->holds({{4, 8}, &here}) && !first->holds({{5, 9}, &here}) &&
             !first->holds({{4, 9}, &there}) && !first->holds({{4, 9}, nullptr}) && !first->holds({{}, &here}),
         "no other state, parameter or stream");
  first->keep(now);
  first->made({9, 0, 1});
  expect(first->holds(held) && !first->kept({0, 0, 0}), "whatever a recording says of it");
  first->hold({{4, 10}, &there});
  expect(!first->holds(held) && first->holds({{4, 10}, &there}), "one state at a time");
  expect(!copies.find({b, 2, 2, 2})->holds({{4, 10}, &there}), "each matrix has its own");

  int released = 0;
  copies.tidy([&](const float* values) { return values == a; }, [&](void* memory) { std::free(memory), ++released; });
  expect(released == 2 && !copies.find({a, 2, 2, 2}) && copies.find({b, 2, 2, 2}), "copies go with their matrices");
  copies.tidy([](const float*) { return true; }, [](void* memory) { std::free(memory); });

  cuda::enqueued = 5;
  {
    const cuda::WritesNoOperand guard;
    cuda::enqueued += 2;
  }
  expect(cuda::enqueued == 5, "what writes no operand does not count");
}

// Each value of a warp's 16 x 32 in the lane that has it, and the exchanges.
void test_column_sums() {
  using Halving = cuda::ColumnHalving;
  constexpr int kRows = 16;
  float values[kRows][Halving::kColumns], sums[cuda::kWarp][Halving::kOwn];
  int seen[kRows][Halving::kColumns] = {};
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < Halving::kColumns; ++c) values[r][c] = static_cast<float>((r * 37 + c * 101) % 64 - 20);
  for (int lane = 0; lane < cuda::kWarp; ++lane) {
    const auto take = [&](int i) {
      const int r = lane / 4 + Halving::row(i), c = lane % 4 * 2 + Halving::column(i);
      ++seen[r][c];
      return values[r][c];
    };
    for (int j = 0; j < Halving::kOwn; ++j) {
      const int i = Halving::value(j);
      expect(Halving::column(i) == Halving::column(i + 2) && Halving::row(i) + 8 == Halving::row(i + 2),
             "two rows of a column");
      sums[lane][j] = take(i) + take(i + 2);
    }
  }
  for (int half = Halving::kOwn / 2; half > 0; half /= 2) {
    float sent[cuda::kWarp][Halving::kOwn];
    for (int lane = 0; lane < cuda::kWarp; ++lane)
      for (int j = 0; j < half; ++j) sent[lane][j] = Halving::sent(sums[lane], lane, half, j);
    for (int lane = 0; lane < cuda::kWarp; ++lane)
      for (int j = 0; j < half; ++j)
        sums[lane][j] = Halving::kept(sums[lane], lane, half, j) + sent[lane ^ (4 * half)][j];
  }
  int of_column[Halving::kColumns] = {};
  for (int lane = 0; lane < cuda::kWarp; ++lane) {
    const int column = Halving::column_of(lane);
    ++of_column[column];
    float want = 0;
    for (int r = 0; r < kRows; ++r) want += values[r][column];
    expect(sums[lane][0] == want, "a column's sum");
  }
  for (int c = 0; c < Halving::kColumns; ++c) {
    expect(of_column[c] == 1, "each column in one lane");
    for (int r = 0; r < kRows; ++r) expect(seen[r][c] == 1, "each value in one lane");
  }
  const cuda::Matrix matrix{nullptr, 33, 24, 24};
  const cuda::SumsLayout layout(matrix);
  expect(layout.rows == 3 && layout.columns == 24 && layout.bytes() == 3 * 24 * 4, "a row of sums for each 16 rows");
  expect(cuda::SumsLayout::first_byte(matrix) >= 33 * 24 * 2 && cuda::SumsLayout::first_byte(matrix) % 128 == 0,
         "behind the copy");
}

// Whole matrices and rows with gaps; more of them, and longer ones, than there are blocks.
void test_rounding() {
  struct Case {
    Index rows, columns, gap;
  };
  for (const Case& c : {Case{1, 8, 0}, Case{5, 24, 0}, Case{5, 24, 8}, Case{3, 2056, 4}, Case{70, 2064, 12}}) {
    const Index ld = c.columns + c.gap;
    const auto at = [](Index i) { return static_cast<std::size_t>(i); };
    std::vector<cuda::Vector<float>> memory(at((c.rows * ld + 3) / 4));
    float* const values = memory[0].v;
    std::uint32_t seed = 5;
    for (Index i = 0; i < c.rows * ld; ++i) {
      seed = seed * 1664525U + 1013904223U;
      values[i] = static_cast<float>(static_cast<std::int32_t>(seed)) * 0x1p-28F;
    }
    std::vector<cuda::Vector<float>> rounded(at(c.rows * c.columns / 8 + 1));
    auto* const halves = reinterpret_cast<std::uint16_t*>(rounded.data());
    for (std::size_t i = 0; i < 8 * rounded.size(); ++i) halves[i] = 0xabcd;
    cuda::round_rows({values, halves, c.rows, c.columns, ld}, 1, nullptr);
    std::vector<cuda::Vector<float>> twice(rounded.size());
    std::vector<Index> ids;  // backwards
    for (Index r = 0; r < c.rows; ++r) ids.push_back(c.rows - 1 - r);
    Context context{};
    auto* const chosen = reinterpret_cast<std::uint16_t*>(twice.data());
    cuda::round_rows({values, chosen, c.rows, c.columns, ld, {true, ids.data(), c.rows, context}}, 1, nullptr);
    bool same = true;
    for (Index r = 0; r < c.rows; ++r)
      for (Index k = 0; k < c.columns; ++k)
        same &= chosen[r * c.columns + k] == halves[(c.rows - 1 - r) * c.columns + k];
    expect(same, "chosen rows");
    // In a replayed step: the batch of step 1 of those that begin at row `first[1]` of the order.
    if (c.rows % 5 == 0) {
      const Index half = c.rows / 5, first[] = {0, half};
      Replay replay{};
      replay.first = first;
      replay.offset = 1;
      replay.ids = ids.data();
      context.replay = &replay;
      cuda::round_rows({values, chosen, half, c.columns, ld, {true, nullptr, half, context}}, 1, nullptr);
      for (Index r = 0; r < half; ++r)
        for (Index k = 0; k < c.columns; ++k)
          same &= chosen[r * c.columns + k] == halves[ids[at(2 * half + r)] * c.columns + k];
      expect(same, "a replayed step's rows");
    }
    bool fine = true;
    for (Index r = 0; r < c.rows; ++r)
      for (Index k = 0; k < c.columns; ++k)
        fine &= halves[r * c.columns + k] == cuda::BF16::word(values[r * ld + k], 0);
    for (Index i = 0; i < 8; ++i) fine &= halves[c.rows * c.columns + i] == 0xabcd;
    expect(fine, "rounded copies");
  }
}

}  // namespace

int main() {
  test_copies();
  test_rounding();
  test_column_sums();
  return report();
}
