// The host's side of the device, on the emulated one: which device is current, when errors are told, captures into a
// caller's graph, waits and copies between steps, and matrices that are too large.
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "core/cuda_library.h"
#include "core/trainer.h"
#include "cuda/emulation/emulation.h"
#include "expect.h"
#include "mlp.h"

extern "C" const fastmlp::CudaLibrary* fastmlp_cuda_library();

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;
namespace emulation = cuda::emulation;

// The message of what a call throws; empty: it throws nothing.
template <class Call>
std::string thrown(const Call& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

const Device& device() { return *fastmlp_cuda_library()->device; }

constexpr Index kRows = 5, kIn = 3, kOut = 2;

struct Net {
  Mlp<float> mlp{{kIn, 7, kOut}, ActivationKind::Tanh, ActivationKind::Identity, 1};
  Network<float> network{on_device()};
  Optimizer<float> optimizer{OptimizerKind::Adam, {}, mlp.parameters};
  Buffer<float> x{kRows * kIn, device()}, t{kRows * kOut, device()}, y{kRows * kOut, device()};

  Net() {
    std::vector<float> values(kRows * kIn);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
    check(device().upload(x.data(), values.data(), values.size() * sizeof(float), nullptr));
  }
  std::vector<Operation<float>> on_device() {
    for (const auto& parameter : mlp.parameters) parameter->take(parameter->moved_to(device()));
    Operation<float> dropout;  // which no block trains alone
    dropout.kind = OperationKind::Dropout;
    dropout.p = 0.5;
    mlp.layers.insert(mlp.layers.begin() + 1, dropout);
    return mlp.layers;
  }
  void predict(Index rows = kRows) { network.predict(x.data(), rows, kIn, nullptr, y.data()); }
  void steps(Index count) {
    std::vector<double> losses(static_cast<std::size_t>(count));
    network.acquire(kRows, kIn, true)
        ->steps({LossKind::MSE}, {x.data(), {t.data()}, nullptr, kRows}, count, true, {1, 0}, optimizer, losses.data());
  }
  std::vector<float> output() const {
    std::vector<float> values(kRows * kOut);
    check(device().download(values.data(), y.data(), values.size() * sizeof(float), nullptr));
    return values;
  }
  void clear_output() {
    const std::vector<float> zeros(kRows * kOut);
    check(device().upload(y.data(), zeros.data(), zeros.size() * sizeof(float), nullptr));
  }
};

// Whatever device another library has made current, kernels start on the library's, and it stays current.
void test_current_device() {
  Net net;
  emulation::make_current(1);
  expect(thrown([&] { net.predict(); }).empty(), "predict while another device is current");
  expect(thrown([&] { net.steps(20); }).empty(), "steps while another device is current");
  expect(emulation::current() == 1, "the caller's device is current again");
  emulation::make_current(0);
}

// What cannot start is told at the end of the same pass, and not again.
void test_late_errors() {
  Net net;
  const std::string why = "CUDA: no such kernel";
  net.predict();
  emulation::fail_next(why.c_str());
  expect(thrown([&] { net.predict(); }) == why, "predict tells of its launches");
  expect(thrown([&] { net.predict(); }).empty(), "and the next one does not");
  for (const Index steps : {Index{1}, Index{40}, Index{300}}) {
    Net other;
    emulation::fail_next(why.c_str());
    expect(thrown([&] { other.steps(steps); }) == why, "steps tell of their launches");
    expect(thrown([&] { other.steps(steps); }).empty(), "and the next ones do not");
  }
  const typename Network<float>::Lease runner = net.network.acquire(kRows, kIn, true);
  runner->forward({net.x.data(), {net.t.data()}, nullptr, kRows}, nullptr, nullptr);
  emulation::fail_next(why.c_str());
  expect(thrown([&] { runner->backward(net.t.data(), nullptr, nullptr); }) == why, "backward tells of its launches");
  emulation::fail_next(why.c_str());
  expect(thrown([&] { net.optimizer.step(); }) == why, "the optimizer's step, too");
}

// A pass in a stream that the caller captures neither allocates nor waits; its memory is the graph's from then on.
void test_captures() {
  char places[2];
  const Stream stream = places, other = places + 1;
  Net net;
  net.predict();
  const std::vector<float> wanted = net.output();
  net.clear_output();

  emulation::begin_capture(stream);
  std::string why;
  {
    const StreamScope scope(stream);
    why = thrown([&] { net.predict(kRows - 1); });
    expect(contains(why, "nothing is ready") && contains(why, "4 rows"), "a capture refuses other rows: " + why);
    expect(thrown([&] { net.predict(); }).empty() && thrown([&] { net.predict(); }).empty(), "and takes those before");
    expect(contains(thrown([&] { Buffer<float>(8, device()); }), "before the capture"), "nothing is allocated");
    expect(contains(thrown([&] { net.steps(2); }), "nothing is ready"), "nothing is trained");
    const float one = 1;
    expect(device().upload(net.x.data(), &one, sizeof one, stream) != nullptr, "nothing is copied from the host");
  }
  void* const graph = emulation::end_capture(stream);
  expect(graph != nullptr, "the capture was not disturbed");
  if (!graph) return;
  expect(net.output() == std::vector<float>(kRows * kOut), "what is captured has not run");

  // Other passes have other memory than the graph.
  {
    const StreamScope scope(other);
    net.predict();
    net.clear_output();
  }
  check(device().replay(graph, stream));
  expect(net.output() == wanted, "the graph predicts");
  emulation::begin_capture(stream);
  {
    const StreamScope scope(stream);
    expect(thrown([&] { net.predict(); }).empty(), "another capture takes what was made since");
  }
  device().release_recording(emulation::end_capture(stream));
  device().release_recording(graph);

  emulation::begin_capture(stream);
  Buffer<float>(8, device());
  expect(emulation::end_capture(stream) == nullptr, "the emulated device notices what disturbs a capture");
}

// A pass in another stream waits for the last one on the device, not on the host.
void test_waits() {
  char places[2];
  Net net;
  net.predict();
  const emulation::Counts before = emulation::counts();
  for (char& place : places) {
    const StreamScope scope(&place);
    net.predict();
    net.predict();
  }
  const emulation::Counts after = emulation::counts();
  expect(after.waits - before.waits == 2, "a wait for each change of streams");
  expect(after.synchronizations == before.synchronizations, "the host waits for none");
}

// A call of many steps copies to the device at its begin, whatever the number of replays.
void test_replays() {
  Net net;
  net.steps(300);
  net.steps(300);
  const emulation::Counts before = emulation::counts();
  net.steps(960);
  const emulation::Counts after = emulation::counts();
  expect(after.recordings == before.recordings, "what is recorded stays");
  expect(after.replays - before.replays <= 960 / 32, "a replay is of many steps");
  expect(after.uploads - before.uploads == 2, "the constants of the steps, and where they begin, are copied once");
  expect(after.downloads - before.downloads == 1, "and their losses");
  expect(after.launches == before.launches, "nothing is enqueued beside replays");
}

void test_extents() {
  Net net;
  constexpr Index kMany = Index{1} << 31;
  const std::string why = thrown([&] { net.network.acquire(kMany, kIn, false); });
  expect(contains(why, "at most 2147483647") && contains(why, "2147483648"), "too many rows: " + why);
  const Context context{{nullptr, nullptr, 1}, nullptr};
  float* const none = nullptr;
  kernels_of<float>(device()).affine_forward({kMany, 1, 1, none, 1, none, none, {}, none, 1, none}, context);
  expect(contains(device().launch_problem(), "2147483647"), "a forward product of too many rows");
  kernels_of<float>(device()).affine_backward_input({1, kMany, 1, none, 1, none, {}, none, none, 1}, context);
  expect(contains(device().launch_problem(), "2147483647"), "a backward product of too many columns");
  kernels_of<float>(device()).affine_backward_weight({1, 1, kMany, none, 1, none, 1, {}, {}}, context);
  expect(contains(device().launch_problem(), "2147483647"), "a gradient of too many rows");
}

// The values are those of the moment when the copy was enqueued, and come at its end.
void test_downloads() {
  Buffer<double> from(2, device());
  const double before[] = {1, 2}, after[] = {3, 4};
  check(device().upload(from.data(), before, sizeof before, nullptr));
  void* const download = device().begin_download(from.data(), sizeof before, nullptr);
  check(device().upload(from.data(), after, sizeof after, nullptr));
  double got[2] = {};
  check(device().end_download(download, got));
  expect(got[0] == 1 && got[1] == 2, "a download has the values of its place in the stream");
  check(device().end_download(device().begin_download(from.data(), sizeof before, nullptr), nullptr));
}

// A fit that an exception ends after some time, or of so many epochs.
struct Fitted {
  Net net;
  History history;
  std::string thrown_;

  Fitted(Index rows, Index batch, Index epochs, bool ends) {
    FitOptions options;
    options.max_epoch = epochs;
    options.batch_size = batch;
    options.keep_gradient = false;
    const PollHook poll = [ends](Index, double) {
      if (ends) throw std::runtime_error("enough");
    };
    Trainee<float> trainee(net.network, net.optimizer, history);
    thrown_ = thrown([&] {
      fit<float>({trainee}, {LossKind::MSE}, {net.x.data(), {net.t.data()}, rows, kIn}, nullptr, options, poll);
    });
  }
  std::vector<float> values() const {
    std::vector<float> all;
    for (const auto& parameter : net.mlp.parameters) {
      std::vector<float> own(static_cast<std::size_t>(parameter->size()));
      parameter->read(own.data());
      all.insert(all.end(), own.begin(), own.end());
    }
    return all;
  }
  std::vector<double> losses() const {
    return history.read([](const Measured& m) { return m.loss.values(); });
  }
};

// Bursts of steps overlap; one that is under way when an error ends the fit counts, with its losses.
void test_interrupted_fits() {
  for (const Index batch : {kRows, Index{1}}) {
    const Fitted ended(kRows, batch, 1 << 30, true);
    expect(ended.thrown_ == "enough", "a fit ends with the hook's error: " + ended.thrown_);
    const Index epochs = ended.history.epochs(), steps = epochs * (kRows / batch);
    expect(epochs > 0 && ended.history.steps() == steps && ended.net.optimizer.steps() == steps,
           "whole steps are taken");
    const Fitted again(kRows, batch, epochs, false);
    expect(again.thrown_.empty() && again.history.epochs() == epochs, "as many epochs");
    expect(again.values() == ended.values(), "the same parameters");
    expect(again.losses() == ended.losses(), "the same losses");
  }
  expect(emulation::counts().most_pending == 2, "a burst begins before the losses of the last one are there");
}

}  // namespace

int main() {
  test_current_device();
  test_late_errors();
  test_captures();
  test_waits();
  test_replays();
  test_extents();
  test_downloads();
  test_interrupted_fits();
  return report();
}
