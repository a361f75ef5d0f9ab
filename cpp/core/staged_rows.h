// The batches of a data set whose inputs come from a source: some of them are brought into memory at a time, with their
// targets, in the order of the epoch. While they serve, a thread fetches the next ones of a source that waits.
#pragma once

#include <algorithm>
#include <future>
#include <system_error>

#include "core/float_mode.h"
#include "core/thread_pool.h"
#include "core/trainer.h"

namespace fastmlp {

template <class T>
class StagedRows {
 public:
  // Batches of so many rows, but for a last one that may have fewer; targets have so many columns. The data set is to stay.
  StagedRows(const DataSet<T>& data, Index batch, Index target_columns) : data_(data), target_columns_(target_columns) {
    const Index values = data.source->waits() ? kValuesAhead : kValues;
    const Index batches = std::max(Index{1}, values / (batch * data.columns));
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
    Batch<T> result{chunks_[0].x.data() + (row - first) * data_.columns,
                    chunks_[0].targets.from(row - first, target_columns_)};
    result.rows = rows;
    return result;
  }
  // How many rows from there on lie together.
  Index together(Index row) const { return std::min(data_.rows, (row / size_ + 1) * size_) - row; }

 private:
  // Values at a time: what caches hold, or what makes it worth waiting for.
  static constexpr Index kValues = Index{1} << 18, kValuesAhead = Index{1} << 20;

  struct Chunk {
    Index first = -1;  // row of the order; -1: none
    Buffer<T> x, dense, weights;
    Buffer<Index> classes;
    Targets<T> targets;
    std::future<void> coming;  // ends before the memory does

    void forget() {
      if (coming.valid()) coming.wait();
      coming = {};
      first = -1;
    }
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
    take_targets(chunk);
    if (const Index next = first + size_; data_.source->waits() && next < data_.rows)
      fetch(chunks_[1], next, std::launch::async);
  }

  void fetch(Chunk& chunk, Index first, std::launch when) {
    chunk.forget();
    const RowNumbers rows = rows_from(first);
    chunk.x.reserve(static_cast<std::size_t>(size_ * data_.columns));
    const auto work = [source = data_.source, rows, to = chunk.x.data(), mode = float_mode()] {
      set_float_mode(mode);
      source->fetch(rows, to);
    };
    try {
      chunk.coming = std::async(when, work);
    } catch (const std::system_error&) {  // there is no thread to be had
      chunk.coming = std::async(std::launch::deferred, work);
    }
    chunk.first = first;
  }

  void take_targets(Chunk& chunk) {
    const RowNumbers rows = rows_from(chunk.first);
    const Targets<T>& all = data_.targets;
    chunk.targets = all.from(rows.first, target_columns_);
    if (!rows.ids) return;
    const auto reserve = [&](auto& buffer, const auto* values, Index columns) {
      if (values) buffer.reserve(static_cast<std::size_t>(size_ * columns));
      return buffer.data();
    };
    const GatherArgs<T> args{rows.count,
                             0,  // inputs are there already
                             target_columns_,
                             chunk.x.data(),
                             all,
                             rows.ids,
                             chunk.x.data(),
                             reserve(chunk.dense, all.dense, target_columns_),
                             reserve(chunk.classes, all.classes, 1),
                             reserve(chunk.weights, all.weights, 1)};
    kernels_of<T>(host_device()).gather(args, {thread_pool_executor(), nullptr});
    if (all.dense) chunk.targets.dense = args.dense_rows;
    if (all.classes) chunk.targets.classes = args.class_rows;
    if (all.weights) chunk.targets.weights = args.weight_rows;
  }

  const DataSet<T>& data_;
  const Index target_columns_;
  Index size_;  // of a chunk, in rows
  const Index* ids_ = nullptr;
  Chunk chunks_[2];  // the one in use, and the next
};

}  // namespace fastmlp
