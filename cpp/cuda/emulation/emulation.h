// What tests do to the emulated device and see of it, beside what any device does.
#pragma once

#include "core/device.h"

namespace fastmlp::cuda::emulation {

// As if another library had made this device the calling thread's current one. The library's own is number 0.
void make_current(int device);
int current();

// The next kernel or copy of the thread does not start, for this reason.
void fail_next(const char* problem);

// A capture of the stream into a graph, as callers begin it: what the stream gets meanwhile does not run. To allocate or
// release memory, to copy from or to the host, or to wait for the device would spoil it: then its end gives null.
void begin_capture(Stream stream);
void* end_capture(Stream stream);

// Calls so far, of all threads.
struct Counts {
  long uploads, downloads, synchronizations, waits, recordings, replays, launches;
  long most_pending;  // downloads that were under way at once
};
Counts counts();

}  // namespace fastmlp::cuda::emulation
