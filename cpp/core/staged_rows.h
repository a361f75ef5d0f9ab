// The batches of a data set some of whose arrays come from sources: some of them are brought into memory at a time, in the
// order of the epoch. While they serve, a thread fetches the next ones of sources that wait.
#pragma once

#include <algorithm>
#include <future>
#include <optional>
#include <system_error>
#include <utility>

#include "core/batch.h"
#include "core/data_set.h"
#include "core/device_copies.h"
#include "core/float_mode.h"
#include "core/thread_pool.h"

namespace fastmlp {

template <class T>
class StagedRows {
 public:
  // Batches of so many rows, but for a last one that may have fewer; targets have so many columns. The data set, which is the
  // host's, is to stay; the batches come to a device's memory.
  StagedRows(const DataSet<T>& data, Index batch, Index target_columns, const Device& device = host_device())
      : data_(data), target_columns_(target_columns), waits_(data.sources.waits()) {
    if (!device.host) there_.emplace(device);
    const Index width =
        std::max({data.sources.x ? data.columns : 1, data.sources.dense ? target_columns : 1, Index{1}});
    const Index batches = std::max(Index{1}, (waits_ ? kValuesAhead : kValues) / (batch * width));
    size_ = std::min(data.rows, batches * batch);
  }

  // A new order: a permutation of the rows, or, where that is null, their own. It is to stay until the next one.
  void begin(const Index* ids) {
    if (!ids && !ids_) return;
    ids_ = ids;
    for (Chunk& chunk : chunks_) chunk.forget();
  }

  // Rows from number `row` of the order on, which lie where they are until those of another chunk are asked for.
  Batch<T> batch(Index row, Index rows) {
    const Index first = row / size_ * size_;
    if (chunks_[0].first != first) bring(first);
    if (there_) return {there_->x.data(), there_->batch_targets, nullptr, rows, false, row - first};
    const Chunk& chunk = chunks_[0];
    Batch<T> result{chunk.x ? chunk.x + (row - first) * data_.columns : nullptr,
                    chunk.targets.from(row - first, target_columns_)};
    result.rows = rows;
    return result;
  }
  // How many rows from there on lie together.
  Index together(Index row) const { return std::min(data_.rows, (row / size_ + 1) * size_) - row; }
  // The sum of their shares; they lie there.
  double share(Index row, Index rows) const {
    const Targets<T> own = chunks_[0].targets.from(row % size_, target_columns_);
    if (!own.has_shares()) return static_cast<double>(rows);
    double sum = 0;
    for (Index i = 0; i < rows; ++i) sum += own.share(i);
    return sum;
  }

 private:
  // Values at a time: what caches hold, or what makes it worth waiting for.
  static constexpr Index kValues = Index{1} << 18, kValuesAhead = Index{1} << 20;

  struct Chunk {
    Index first = -1;  // row of the order; -1: none
    const T* x = nullptr;
    Targets<T> targets;
    Buffer<T> x_rows, dense_rows, weight_rows;
    Buffer<Index> class_rows;
    std::future<void> coming;  // ends before the memory does

    void forget() {
      if (coming.valid()) coming.wait();
      coming = {};
      first = -1;
    }
  };

  // The chunk in use, on a device.
  struct There {
    explicit There(const Device& device) : x(device), targets(device) {}

    Buffer<T> x;
    TargetCopies<T> targets;
    Targets<T> batch_targets;
  };

  RowNumbers rows_from(Index first) const {
    return {ids_ ? ids_ + first : nullptr, first, std::min(size_, data_.rows - first)};
  }

  void bring(Index first) {
    if (chunks_[1].first == first)
      std::swap(chunks_[0], chunks_[1]);
    else
      fetch(chunks_[0], first, std::launch::deferred);
    Chunk& chunk = chunks_[0];
    if (chunk.coming.valid()) {
      const Index wanted = std::exchange(chunk.first, -1);
      chunk.coming.get();
      chunk.first = wanted;
    }
    gather(chunk);
    if (there_) {
      const Index rows = rows_from(first).count;
      upload(there_->x, chunk.x, rows * data_.columns);
      there_->batch_targets = there_->targets.take(chunk.targets, rows, target_columns_);
    }
    if (const Index next = first + size_; waits_ && next < data_.rows) fetch(chunks_[1], next, std::launch::async);
  }

  template <class Value>
  Value* room(Buffer<Value>& buffer, Index columns) const {
    buffer.reserve(static_cast<std::size_t>(size_ * columns));
    return buffer.data();
  }

  // What comes from sources.
  void fetch(Chunk& chunk, Index first, std::launch when) {
    chunk.forget();
    const RowSources<T>& from = data_.sources;
    if (from.x) room(chunk.x_rows, data_.columns);
    if (from.dense) room(chunk.dense_rows, target_columns_);
    if (from.classes) room(chunk.class_rows, 1);
    if (from.weights) room(chunk.weight_rows, 1);
    const auto work = [from, rows = rows_from(first), to_x = chunk.x_rows.data(), to_dense = chunk.dense_rows.data(),
                       to_classes = chunk.class_rows.data(), to_weights = chunk.weight_rows.data(),
                       mode = float_mode()] {
      set_float_mode(mode);
      if (from.x) from.x->fetch(rows, to_x);
      if (from.dense) from.dense->fetch(rows, to_dense);
      if (from.classes) from.classes->fetch(rows, to_classes);
      if (from.weights) from.weights->fetch(rows, to_weights);
    };
    try {
      chunk.coming = std::async(when, work);
    } catch (const std::system_error&) {  // there is no thread to be had
      chunk.coming = std::async(std::launch::deferred, work);
    }
    chunk.first = first;
  }

  // The places of all arrays of a chunk; those that are in memory are gathered in the order of the rows.
  void gather(Chunk& chunk) {
    const RowNumbers rows = rows_from(chunk.first);
    const Targets<T>& all = data_.targets;
    chunk.x = data_.x ? data_.x + rows.first * data_.columns : nullptr;
    chunk.targets = all.from(rows.first, target_columns_);
    if (rows.ids) {
      if (data_.x) chunk.x = room(chunk.x_rows, data_.columns);
      if (all.dense) chunk.targets.dense = room(chunk.dense_rows, target_columns_);
      if (all.classes) chunk.targets.classes = room(chunk.class_rows, 1);
      if (all.weights) chunk.targets.weights = room(chunk.weight_rows, 1);
      const GatherArgs<T> args{rows.count,
                               data_.x ? data_.columns : 0,
                               target_columns_,
                               data_.x ? data_.x : chunk.x_rows.data(),
                               all,
                               rows.ids,
                               chunk.x_rows.data(),
                               chunk.dense_rows.data(),
                               chunk.class_rows.data(),
                               chunk.weight_rows.data()};
      kernels_of<T>(host_device()).gather(args, {thread_pool_executor(), nullptr});
    }
    const RowSources<T>& from = data_.sources;
    if (from.x) chunk.x = chunk.x_rows.data();
    if (from.dense) chunk.targets.dense = chunk.dense_rows.data();
    if (from.classes) chunk.targets.classes = chunk.class_rows.data();
    if (from.weights) chunk.targets.weights = chunk.weight_rows.data();
  }

  const DataSet<T>& data_;
  const Index target_columns_;
  const bool waits_;
  Index size_;  // of a chunk, in rows
  const Index* ids_ = nullptr;
  Chunk chunks_[2];  // the one in use, and the next
  std::optional<There> there_;
};

}  // namespace fastmlp
