// Where parameters and workspaces live and kernels run: the host, or a device whose library is opened at run time.
//
// All work of a device goes to a stream, in order; a stream is the caller's handle of one, or null for the device's own.
// Kernels and copies are only enqueued; `synchronize` reports their errors. Functions that return a const char* return
// null, or a message that stays valid until the thread's next call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace fastmlp {

template <class T>
struct Backend;

using Stream = void*;

// How a device multiplies float32 matrices: in float32; with operands rounded to TF32; or to bfloat16; or in float32 by
// three products of TF32. All of them accumulate in float32 and keep float32 parameters. float64 networks know Float32
// alone; the host, BF16, too.
enum class Precision : int { Float32, TF32, BF16, Float32x3 };
inline constexpr const char* kPrecisionNames[] = {"float32", "tf32", "bf16", "float32x3"};

struct Device {
  const char* name;  // "cpu" or "cuda"
  bool host;         // its memory is the host's

  // Memory of zeros, aligned to 256 bytes (64 on the host); null where there is not enough.
  void* (*allocate)(std::size_t bytes);
  // Waits for all work that uses the memory; null is allowed.
  void (*release)(void* memory);

  // Copies in the stream's order. The host's memory may change or go as soon as `upload` returns; `download` returns when the
  // values are there.
  const char* (*upload)(void* to, const void* from, std::size_t bytes, Stream stream);
  const char* (*download)(void* to, const void* from, std::size_t bytes, Stream stream);
  const char* (*copy)(void* to, const void* from, std::size_t bytes, Stream stream);
  const char* (*synchronize)(Stream stream);
  // What `stream` gets from now on waits for all that `other` has; the calling thread does not.
  const char* (*wait)(Stream stream, Stream other);
  // A download that the calling thread need not wait for: the first function enqueues the copy, the second gives the values
  // as soon as they are there (or, to null, to nobody). Null where it failed.
  void* (*begin_download)(const void* from, std::size_t bytes, Stream stream);
  const char* (*end_download)(void* download, void* to);
  // The thread's first error since the last one that was told, that of a launch among others. It waits for nothing.
  const char* (*launch_problem)();
  // A new stream, which stays to the end of the process; null where there is none.
  Stream (*make_stream)();

  // Between these two calls kernels are recorded, not run; the second gives what replays them, or null where that
  // failed. Nothing may be allocated or uploaded meanwhile.
  const char* (*begin_recording)(Stream stream);
  void* (*end_recording)(Stream stream);
  const char* (*replay)(void* recording, Stream stream);
  void (*release_recording)(void* recording);
  // *number += by, as kernels do: it may be recorded.
  void (*advance)(std::int64_t* number, std::int64_t by, Stream stream);

  // The number of the capture into a graph of the caller's that the stream is in; 0: none. Meanwhile nothing can be
  // allocated, copied from or to the host, or waited for: `synchronize` then says so, and does nothing.
  std::uint64_t (*capture)(Stream stream);

  const Backend<float>* f32;
  const Backend<double>* f64;
};

const Device& host_device();

// The device's table, or the host's active one.
template <class T>
const Backend<T>& kernels_of(const Device& device);

// Throws std::runtime_error for what a device's function returned, unless that is null.
void check(const char* problem);

// The stream that the calling thread's work on a device goes to. When a network's next pass uses another stream, it waits
// for the last pass.
class StreamScope {
 public:
  explicit StreamScope(Stream stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

  static Stream current();

 private:
  Stream before_;
};

// A stream of a device that nobody else has meanwhile: work of several threads can run side by side. Its end waits for all
// work in it.
class OwnStream {
 public:
  explicit OwnStream(const Device& device);
  ~OwnStream();
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;

  Stream stream() const { return stream_; }

 private:
  const Device& device_;
  Stream stream_ = nullptr;
};

}  // namespace fastmlp
