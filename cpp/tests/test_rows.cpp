// Rows of a source: what is fetched has the values of a plain conversion, whatever the form, and training on them comes to the
// bits of training on those values, also of a group of networks and with any number of threads.
#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

#include "core/thread_pool.h"
#include "core/trainer.h"
#include "expect.h"
#include "mlp.h"

namespace {

using namespace fastmlp;
using fastmlp::testing::expect;
using fastmlp::testing::Mlp;

template <class Body>
bool throws(const Body& body) {
  try {
    body();
  } catch (const std::runtime_error&) {
    return true;
  }
  return false;
}

constexpr Index kRows = 700, kColumns = 37;
constexpr Index kMany = 60'000;  // of which several parts are fetched, one ahead

// A file of these bytes, open for reading, without a name.
int file_of(const void* bytes, std::size_t size) {
  char name[] = "/tmp/fastmlp_rows_XXXXXX";
  const int file = mkstemp(name);
  unlink(name);
  if (file < 0 || write(file, bytes, size) != static_cast<ssize_t>(size)) throw std::runtime_error("no file");
  return file;
}

template <class Number>
std::vector<Number> numbers(Index rows) {
  std::vector<Number> values;
  const Philox random(3, 0);
  for (Index i = 0; i < rows * kColumns; ++i)
    values.push_back(static_cast<Number>(200 * random.uniform(static_cast<std::uint64_t>(i))));
  return values;
}

template <class T, class Number>
void test_forms(Element element, const std::string& what) {
  const std::vector<Number> values = numbers<Number>(kRows);
  const RowLayout layout{element, kColumns, kColumns * static_cast<Index>(sizeof(Number))};
  const std::size_t size = values.size() * sizeof(Number);
  std::vector<Index> ids;
  for (Index i = 0; i < kRows; ++i) ids.push_back(i % 3 == 0 ? i : (i * 331) % kRows);
  const auto in_memory = rows_in_memory<T>(layout, values.data());
  const auto in_file = rows_of_file<T>(layout, file_of(values.data(), size), 0, "x");
  for (const auto* source : {in_memory.get(), in_file.get()})
    for (const RowNumbers& rows : {RowNumbers{nullptr, 5, kRows - 5}, RowNumbers{ids.data(), 0, kRows}}) {
      std::vector<T> got(static_cast<std::size_t>(rows.count * kColumns));
      source->fetch(rows, got.data());
      bool same = true;
      for (Index i = 0; i < rows.count; ++i)
        for (Index c = 0; c < kColumns; ++c)
          same &= got[static_cast<std::size_t>(i * kColumns + c)] ==
                  static_cast<T>(values[static_cast<std::size_t>(rows[i] * kColumns + c)]);
      expect(same, what + (source == in_file.get() ? " in a file" : " in memory"));
    }
  std::vector<T> room(kRows * kColumns);
  const auto too_short = rows_of_file<T>(layout, file_of(values.data(), size - 1), 0, "x");
  expect(throws([&] { too_short->fetch({nullptr, 0, kRows}, room.data()); }), what + ": a file that is too short");
  too_short->fetch({nullptr, 0, kRows - 1}, room.data());
}

void test_half() {
  bool same = true;
  for (std::uint32_t bits = 0; bits < 1u << 16; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    float got = 0;
    convert(Element::F16, &half, 1, &got);
    const int exponent = (half >> 10) & 31, mantissa = half & 1023;
    const double size = exponent == 31  ? (mantissa ? NAN : INFINITY)
                        : exponent == 0 ? std::ldexp(mantissa, -24)
                                        : std::ldexp(1024 + mantissa, exponent - 25);
    const double want = half >> 15 ? -size : size;
    same &= std::isnan(want) ? std::isnan(got) : got == want && std::signbit(got) == std::signbit(want);
  }
  expect(same, "half precision");
}

template <class Integer>
void test_sparse() {
  // 0 5 0 / 0 0 0 / 7 0 9
  const std::vector<float> values = {5, 7, 9};
  std::vector<Integer> indices = {1, 0, 2}, starts = {0, 1, 1, 3};
  const auto source =
      sparse_rows<double>(SparseLayout<Integer>{Element::F32, values.data(), indices.data(), starts.data(), 3, 3, 3});
  std::vector<double> got(9, -1);
  source->fetch({nullptr, 0, 3}, got.data());
  expect(got == std::vector<double>{0, 5, 0, 0, 0, 0, 7, 0, 9}, "sparse rows");
  expect(source->is_finite(), "sparse rows that are finite");
  for (const Integer column : {3, -1}) {
    indices[2] = column;
    expect(throws([&] { source->fetch({nullptr, 0, 3}, got.data()); }), "a column that is none");
  }
  indices[2] = 2;
  for (const Integer start : {4, -1}) {
    starts[2] = start;
    expect(throws([&] { source->fetch({nullptr, 0, 3}, got.data()); }), "a beginning that is none");
  }
}

// Parameters and losses of a group of networks after some epochs.
std::vector<float> trained(const DataSet<float>& data, const FitOptions& options, Index width) {
  std::vector<std::unique_ptr<Mlp<float>>> mlps;
  std::vector<std::unique_ptr<Network<float>>> networks;
  std::vector<std::unique_ptr<Optimizer<float>>> optimizers;
  std::vector<History> histories(3);
  std::vector<Trainee<float>> trainees;
  for (std::size_t m = 0; m < histories.size(); ++m) {
    mlps.push_back(std::make_unique<Mlp<float>>(std::vector<Index>{kColumns, width, 4}, ActivationKind::Tanh,
                                                ActivationKind::Identity, m));
    networks.push_back(std::make_unique<Network<float>>(mlps[m]->layers));
    OptimizerOptions own;
    own.lr = 1e-3;
    optimizers.push_back(std::make_unique<Optimizer<float>>(OptimizerKind::Adam, own, mlps[m]->parameters));
    trainees.emplace_back(*networks[m], *optimizers[m], histories[m]);
  }
  fit<float>(trainees, {LossKind::CrossEntropy}, data, &data, options);
  std::vector<float> all;
  for (const auto& mlp : mlps)
    for (const auto& parameter : mlp->parameters)
      all.insert(all.end(), parameter->value.data(), parameter->value.data() + parameter->size());
  for (const History& history : histories)
    history.read([&](const Measured& measured) {
      all.insert(all.end(), measured.loss.begin(), measured.loss.end());
      all.insert(all.end(), measured.validation_loss.begin(), measured.validation_loss.end());
      return 0;
    });
  return all;
}

void test_training(Index rows, Index batch_size, bool shuffle, Index width) {
  const std::vector<std::uint8_t> values = numbers<std::uint8_t>(rows);
  const std::vector<float> wide(values.begin(), values.end());
  std::vector<Index> classes;
  for (Index r = 0; r < rows; ++r) classes.push_back(r % 4);
  FitOptions options;
  options.max_epoch = 3;
  options.batch_size = batch_size;
  options.shuffle = shuffle;
  const std::string what = std::to_string(rows) + " rows, batches of " + std::to_string(batch_size) +
                           (shuffle ? ", shuffled" : "") + ", width " + std::to_string(width) + ": ";
  const std::vector<float> want = trained({wide.data(), {nullptr, classes.data()}, rows, kColumns}, options, width);
  const RowLayout layout{Element::U8, kColumns, kColumns};
  const auto in_memory = rows_in_memory<float>(layout, values.data());
  const auto in_file = rows_of_file<float>(layout, file_of(values.data(), values.size()), 0, "x");
  for (const auto* source : {in_memory.get(), in_file.get()})
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      DataSet<float> data{nullptr, {nullptr, classes.data()}, rows, kColumns};
      data.sources.x = source;
      const std::vector<float> got = trained(data, options, width);
      expect(got.size() == want.size() && std::memcmp(got.data(), want.data(), got.size() * sizeof(float)) == 0,
             what + (source == in_file.get() ? "a file" : "memory") + ", " + std::to_string(threads) + " threads");
    }
}

// A file that is too short for the last rows ends the fit while others are fetched ahead.
void test_failing() {
  const std::vector<std::uint8_t> values = numbers<std::uint8_t>(kMany);
  const std::vector<Index> classes(kMany, 1);
  const auto source =
      rows_of_file<float>({Element::U8, kColumns, kColumns}, file_of(values.data(), (kMany - 9) * kColumns), 0, "x");
  DataSet<float> data{nullptr, {nullptr, classes.data()}, kMany, kColumns};
  data.sources.x = source.get();
  FitOptions options;
  options.batch_size = 64;
  for (const bool shuffle : {false, true}) {
    options.shuffle = shuffle;
    expect(throws([&] { trained(data, options, 8); }), "a file that ends early ends the fit");
  }
}

}  // namespace

int main() {
  test_forms<float, std::uint8_t>(Element::U8, "u8");
  test_forms<double, std::int8_t>(Element::I8, "i8");
  test_forms<float, std::int16_t>(Element::I16, "i16");
  test_forms<float, std::uint64_t>(Element::U64, "u64");
  test_forms<float, double>(Element::F64, "f64");
  test_forms<float, float>(Element::F32, "f32");
  test_forms<double, float>(Element::F32, "f32 as f64");
  test_half();
  test_sparse<std::int32_t>();
  test_sparse<std::int64_t>();
  for (const bool shuffle : {true, false}) {
    for (const Index batch : {Index{1}, Index{32}, kRows}) test_training(kRows, batch, shuffle, 6);
    for (const Index width : {6, 100}) test_training(kMany, 250, shuffle, width);
  }
  test_failing();
  return testing::report();
}
