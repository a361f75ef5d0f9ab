// A device's memory, copies and recordings, through the library that FASTMLP_CUDA_LIBRARY names: the emulated device's, or
// CUDA's, where it is skipped (77) without a device.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "core/cuda_library.h"
#include "expect.h"

namespace {

using namespace fastmlp;
using namespace fastmlp::testing;

std::vector<unsigned char> pattern(std::size_t bytes, unsigned seed) {
  std::vector<unsigned char> values(bytes);
  for (std::size_t i = 0; i < bytes; ++i) values[i] = static_cast<unsigned char>((i * 2654435761U + seed) >> 7);
  return values;
}

class Memory {
 public:
  Memory(const Device& device, std::size_t bytes)
      : device_(device), bytes_(bytes), data_(static_cast<unsigned char*>(device.allocate(bytes))) {
    expect(data_ != nullptr, "memory is there");
    expect(reinterpret_cast<std::uintptr_t>(data_) % 256 == 0, "memory is aligned to 256 bytes");
  }
  ~Memory() { device_.release(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  unsigned char* data() const { return data_; }
  std::vector<unsigned char> read() const {
    std::vector<unsigned char> values(bytes_, 1);
    expect_done(device_.download(values.data(), data_, bytes_, nullptr));
    return values;
  }

 private:
  const Device& device_;
  std::size_t bytes_;
  unsigned char* data_;
};

// Of no bytes, of few, around the pieces that go through pinned memory, and of several such.
void test_copies(const Device& device, unsigned seed) {
  constexpr std::size_t kPiece = std::size_t{4} << 20;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{65536}, std::size_t{65537}, kPiece - 1,
                                  kPiece, kPiece + 1, 5 * kPiece + 12345}) {
    const Memory a(device, bytes), b(device, bytes);
    expect(a.read() == std::vector<unsigned char>(bytes, 0), "new memory has zeros");
    std::vector<unsigned char> values = pattern(bytes, seed);
    expect_done(device.upload(a.data(), values.data(), bytes, nullptr));
    std::fill(values.begin(), values.end(), static_cast<unsigned char>(0xee));  // it may change at once
    expect_done(device.copy(b.data(), a.data(), bytes, nullptr));
    expect(b.read() == pattern(bytes, seed), "copies there, across and back");
  }
  expect_done(device.synchronize(nullptr));
  device.release(nullptr);
}

// Copies that move values along by one are recorded and replayed; meanwhile nothing happens.
void test_recording(const Device& device) {
  const Memory from(device, 64), to(device, 64);
  const std::vector<unsigned char> values = pattern(64, 1), zeros(64, 0);
  expect_done(device.upload(from.data(), values.data(), 64, nullptr));
  expect_done(device.begin_recording(nullptr));
  expect_done(device.copy(to.data() + 1, from.data(), 63, nullptr));
  expect_done(device.copy(from.data(), to.data(), 64, nullptr));
  expect(device.upload(to.data(), values.data(), 64, nullptr) != nullptr, "no upload while recording");
  expect(device.begin_recording(nullptr) != nullptr, "no recording within one");
  expect(device.allocate(16) == nullptr, "nothing is allocated while recording");
  void* const recording = device.end_recording(nullptr);
  expect(recording != nullptr, "there is a recording");
  expect(to.read() == zeros && from.read() == values, "what is recorded has not run");
  if (!recording) return;
  for (int times = 1; times <= 3; ++times) {
    expect_done(device.replay(recording, nullptr));
    const std::vector<unsigned char> now = from.read();
    expect(std::memcmp(now.data() + times, values.data(), 64 - static_cast<std::size_t>(times)) == 0, "a replay runs");
    expect(now[0] == 0, "a replay runs in order");
  }
  device.release_recording(recording);
  device.release_recording(nullptr);
  expect(device.end_recording(nullptr) == nullptr, "no recording was begun");
}

// While one thread records, another one's work in the same stream runs.
void test_threads(const Device& device) {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i)
    threads.emplace_back([&device, i] { i % 2 == 0 ? test_recording(device) : test_copies(device, i); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

int main() {
  std::string problem;
  const CudaLibrary* const library = cuda_library(&problem);
  if (!problem.empty()) {
    std::printf("skipped: %s\n", problem.c_str());
    return library ? 77 : 1;  // a library that does not open is a failure
  }
  for (int i = 0; i < library->count(); ++i) std::printf("device %d: %s\n", i, library->name(i));
  const Device& device = cuda_device();
  expect(!device.host && std::string(device.name) == "cuda", "the device is CUDA's");
  test_copies(device, 0);
  test_recording(device);
  test_threads(device);
  return report();
}
