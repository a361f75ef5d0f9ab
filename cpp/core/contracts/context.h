// What every kernel may use while it runs.
//
// Conventions of all contracts. Matrices are row-major with a leading dimension in elements (ldx); a batch has one row
// per sample; M is rows, N outputs, K inputs. Weights are stored in x out: W[k][n], k < K, n < N. Nothing overlaps unless
// a contract says so. Kernels allocate nothing, never fail, and give the same bits for any number of workers. A device's
// kernels are enqueued in the context's stream; all their pointers are to its memory, except those that a contract
// calls the host's, and descriptions (Update, SingleBlockLayer).
#pragma once

#include <cstddef>

#include "core/device.h"
#include "core/types.h"

namespace fastmlp {

struct Replay;  // contracts/device_steps.h

// run: body(context, task, worker) for every task < tasks, on up to `workers` threads; returns when all are done.
struct Executor {
  using Body = void (*)(void* context, int task, int worker);
  void* pool;
  void (*run)(void* pool, int workers, int tasks, Body body, void* context);
  int workers;
};

// Host: threads, and per worker `Backend::scratch_bytes` bytes at scratch + worker * that. Device: `scratch_bytes` at
// scratch, zeros before the first kernel, which nobody else writes to.
struct Context {
  Executor executor;
  unsigned char* scratch;
  Stream stream = nullptr;
  Precision precision = Precision::Float32;
  const Replay* replay = nullptr;  // a step that is recorded: replaces what the arguments say of one step
};

}  // namespace fastmlp
