#include "core/strategies/device/block_kind.h"

#include <algorithm>
#include <sstream>

#include "core/strategies/chain.h"

namespace fastmlp {

std::string BlockKind::key() const {
  std::ostringstream text;
  text << std::hexfloat;
  for (const SingleBlockLayer& layer : layers)
    text << layer.in << ' ' << layer.out << ' ' << static_cast<int>(layer.activation.kind) << ' '
         << layer.activation.alpha << ' ' << layer.activation.beta << ' ' << layer.has_bias << layer.trains_weight
         << layer.trains_bias << ' ';
  text << (row_activation ? static_cast<int>(*row_activation) : -1) << ' ' << static_cast<int>(rule) << ' ';
  for (const bool state : states) text << state;
  text << ' ' << steps << ' ' << one_update;
  return text.str();
}

template <class T>
SingleBlockTraining<T> BlockKind::training() const {
  SingleBlockTraining<T> args{};
  args.layers = layers.data();
  args.depth = static_cast<int>(layers.size());
  args.has_row_activation = row_activation.has_value();
  args.row_activation = row_activation.value_or(RowActivationKind{});
  args.rule = rule;
  std::copy_n(states, 3, args.states);
  args.one_update = one_update;
  return args;
}

template <class T>
std::optional<BlockKind> block_kind(const Program<T>& program, const Optimizer<T>& optimizer,
                                    const std::vector<int>& slots) {
  const int depth = affine_chain(program);
  if (depth == 0 || slots.empty() || !optimizer.equal_step_counts(slots)) return std::nullopt;
  const int slot = slots[0];
  BlockKind kind{{}, {}, optimizer.rule(slot), {}, optimizer.slot_steps(slot), optimizer.has_one_update(slot)};
  for (int s = 0; s < 3; ++s) kind.states[s] = optimizer.keeps(slot, s);
  if (depth < program.size()) {
    const Operation<T>& last = program.operations().back();
    if (depth + 1 < program.size() || last.kind != OperationKind::RowActivation) return std::nullopt;
    kind.row_activation = last.row_activation;
  }
  const auto trains = [&](const std::shared_ptr<Parameter<T>>& parameter) {
    return parameter && parameter->requires_grad && optimizer.slot(parameter.get()) >= 0;
  };
  for (int l = 0; l < depth; ++l) {
    const Operation<T>& operation = program.operations()[static_cast<std::size_t>(l)];
    kind.layers.push_back({operation.weight->in, operation.weight->out, operation.activation, operation.bias != nullptr,
                           trains(operation.weight), trains(operation.bias)});
  }
  return kind;
}

template <class T>
std::optional<std::string> group_key(const Program<T>& program, const Optimizer<T>& optimizer, const LossSpec& loss,
                                     Index rows) {
  if (program.device().host || program.shares_parameters()) return std::nullopt;
  const std::optional<BlockKind> kind = block_kind(program, optimizer, slots_of(program, optimizer));
  if (!kind || !program.kernels().trains_in_block) return std::nullopt;
  // With all that a step may need, so that there is room for any.
  const T value{};
  const Index number{};
  SingleBlockTraining<T> args = kind->training<T>();
  args.rows = rows;
  args.targets = {&value, &number, &value};
  args.by_ids = true;
  args.loss = loss;
  args.logits = program.logits_for(loss.kind);
  args.models = 1;
  if (!program.kernels().trains_in_block(args)) return std::nullopt;
  return kind->key();
}

#define FASTMLP_INSTANTIATE(T)                                                                                      \
  template SingleBlockTraining<T> BlockKind::training<T>() const;                                                   \
  template std::optional<BlockKind> block_kind<T>(const Program<T>&, const Optimizer<T>&, const std::vector<int>&); \
  template std::optional<std::string> group_key<T>(const Program<T>&, const Optimizer<T>&, const LossSpec&, Index);
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp
