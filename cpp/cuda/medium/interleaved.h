// The blocks of a training across blocks on the host: each runs an item as soon as its counter allows, in any order that
// the caller likes.
#pragma once

#include <memory>
#include <vector>

#include "cuda/medium/steps.h"

namespace fastmlp::cuda {

class Interleaving {
 public:
  explicit Interleaving(const GridKernel::Params& params) : params_(params) {
    for (int i = 0; i < params.plan.blocks(); ++i) blocks_.push_back(std::make_unique<One>(i, params_));
    for (const auto& one : blocks_) all_.push_back(&one->training);
    for (const auto& one : blocks_) one->training.cluster = all_.data() + one->training.column * params.plan.rows;
  }

  // choose(numbers of blocks that may go on) gives one of them. enter(block, counter or null) is called before a block
  // goes on, with what it waited for, leave(block, counter or null) after, with what it raises. False where all wait.
  template <class Choose, class Enter, class Leave>
  bool run(const Choose& choose, const Enter& enter, const Leave& leave) {
    for (;;) {
      std::vector<int> ready;
      bool done = true;
      for (std::size_t i = 0; i < blocks_.size(); ++i) {
        done &= blocks_[i]->ended;
        if (!blocks_[i]->ended && blocks_[i]->is_ready()) ready.push_back(static_cast<int>(i));
      }
      if (done) return true;
      if (ready.empty()) return false;
      const int number = choose(ready);
      One& one = *blocks_[static_cast<std::size_t>(number)];
      enter(number, one.awaited());
      unsigned* const raised = one.go_on();
      leave(number, raised);
      if (raised) ++*raised;
    }
  }

 private:
  struct One {
    SharedMemory shared;
    Block<GridKernel> block;
    GridTraining training;
    const GridPlan& plan;
    Index step = 0;
    int item = -1;  // the next one; -1: it has not begun
    bool ended = false;

    One(int number, const GridKernel::Params& params)
        : shared(static_cast<std::size_t>(params.plan.bytes)),
          block({number}, {params.plan.blocks()}, shared.data()),
          training(block, params),
          plan(params.plan) {}

    const unsigned* awaited() const {
      if (item < 0 || step == training.p.steps || plan.items[item].wait_by == By::None) return nullptr;
      return training.counter(plan.items[item].wait, plan.items[item].wait_by);
    }
    bool is_ready() const {
      const unsigned* const counter = awaited();
      return !counter || *counter >= training.target(plan.items[item], step);
    }
    unsigned* go_on() {
      if (item < 0) {
        training.begin();
        item = 0;
        return nullptr;
      }
      if (step == training.p.steps) {
        training.end();
        ended = true;
        return nullptr;
      }
      const GridItem& now = plan.items[item];
      training.work(now, step);
      if (++item == plan.item_count) {
        training.finish(step++);
        item = 0;
      }
      return now.signal_by == By::None ? nullptr : training.counter(now.signal, now.signal_by);
    }
  };

  const GridKernel::Params params_;
  std::vector<std::unique_ptr<One>> blocks_;
  std::vector<const GridBlock*> all_;
};

}  // namespace fastmlp::cuda
