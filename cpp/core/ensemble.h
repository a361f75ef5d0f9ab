// Many networks of one shape, trained at once on the same data in a device's memory: one launch for any number of steps.
// Each network has a thread block to itself.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "core/trainer.h"

namespace fastmlp {

template <class T>
class Ensemble {
 public:
  // `models` networks with the layers of `shape` (affine ones, and at most a softmax after them), on `device`; their
  // parameters start as zeros. Throws std::invalid_argument for other layers.
  Ensemble(const Network<T>& shape, Index models, const Device& device, OptimizerKind kind,
           const OptimizerOptions& options)
      : shape_(shape),
        models_(models),
        parameters_(std::make_shared<Parameter<T>>(models, size_of(shape))),
        optimizer_(kind, options, {parameters_}),
        first_update_(make_update(kind, options, 1)),
        updates_(device),
        losses_(device) {
    if (&device != &parameters_->device()) parameters_->take(parameters_->moved_to(device));
  }

  Index models() const { return models_; }
  // Parameters of a network: of each layer its weight, then its bias.
  Index size() const { return parameters_->out; }
  // Those of all networks, one after the other, from and to the host's memory.
  void write(const T* from) { parameters_->write(from); }
  void read(T* to) const { parameters_->read(to); }

  // `steps` steps on `rows` rows each: all of the data if `ids` is null and `rows` is their number, else those after the
  // last step's. Data and row numbers are in the device's memory. `losses`, unless null, receives `steps` values of each
  // network, after all is done. Throws std::invalid_argument where rows are missing or the device cannot do it: a block
  // holds tiny networks only.
  void train(const LossSpec& loss, const DataSet<T>& data, const Index* ids, Index rows, Index steps, double* losses) {
    SingleBlockTraining<T> args{};
    args.rows = rows;
    args.row_count = data.rows;
    args.x = data.x;
    args.targets = data.targets;
    args.ids = ids;
    args.same_rows = !ids && rows == data.rows;
    if (!ids && !args.same_rows && rows * steps > data.rows)
      throw std::invalid_argument("steps: expected rows for all steps, or all rows for each");
    args.loss = loss;
    args.logits = shape_.program().logits_for(loss.kind);
    args.steps = steps;
    args.models = models_;
    args.model_stride = size();
    const std::vector<LanesLayer<T>> layers = describe(args);
    args.layers = layers.data();
    args.depth = static_cast<int>(layers.size());

    const Device& device = parameters_->device();
    const Backend<T>& kernels = kernels_of<T>(device);
    if (!kernels.trains_in_block || !kernels.trains_in_block(args))
      throw std::invalid_argument(std::string("ensemble: these networks and batches are none for ") + device.name);
    optimizer_.prepare();
    const std::vector<Update>& updates = optimizer_.next_updates({0}, steps);
    const Stream stream = StreamScope::current();
    updates_.reserve(updates.size());
    check(device.upload(updates_.data(), updates.data(), updates.size() * sizeof(Update), stream));
    losses_.reserve(static_cast<std::size_t>(models_ * steps));
    args.updates = updates_.data();
    args.one_update = updates.size() == 1;
    args.losses = losses_.data();
    kernels.train_in_block(args, {thread_pool_executor(), nullptr, stream});
    if (losses)
      check(
          device.download(losses, losses_.data(), static_cast<std::size_t>(models_ * steps) * sizeof(double), stream));
  }

 private:
  static Index size_of(const Network<T>& shape) {
    Index size = 0;
    for (const Operation<T>& layer : shape.program().operations()) {
      const bool last = &layer == &shape.program().operations().back();
      if (layer.kind != OperationKind::Affine && !(layer.kind == OperationKind::RowActivation && last && size > 0))
        throw std::invalid_argument("ensemble: expected affine layers, and at most a softmax after them");
      if (layer.weight) size += layer.weight->size();
      if (layer.bias) size += layer.bias->size();
    }
    return size;
  }

  // The layers of the first network.
  std::vector<LanesLayer<T>> describe(SingleBlockTraining<T>& args) {
    std::vector<LanesLayer<T>> layers;
    Index offset = 0;
    const UpdateTarget<T> target = optimizer_.target(0);
    const auto place = [&](const std::shared_ptr<Parameter<T>>& parameter, GradientSink<T>& sink) -> const T* {
      if (!parameter) return nullptr;
      sink.update = &first_update_;
      sink.target.value = target.value + offset;
      for (int s = 0; s < 3; ++s)
        if (target.state[s]) sink.target.state[s] = target.state[s] + offset;
      offset += parameter->size();
      return sink.target.value;
    };
    for (const Operation<T>& layer : shape_.program().operations()) {
      if (layer.kind == OperationKind::RowActivation) {
        args.has_row_activation = true;
        args.row_activation = layer.row_activation;
        break;
      }
      LanesLayer<T> own{layer.weight->in, layer.weight->out, nullptr, nullptr, layer.activation, {}, {}};
      own.weight = place(layer.weight, own.weight_sink);
      own.bias = place(layer.bias, own.bias_sink);
      layers.push_back(own);
    }
    return layers;
  }

  const Network<T>& shape_;  // outlives the ensemble
  Index models_;
  std::shared_ptr<Parameter<T>> parameters_;  // a row for each network
  Optimizer<T> optimizer_;
  Update first_update_;  // its kind is that of all
  Buffer<Update> updates_;
  Buffer<double> losses_;
};

}  // namespace fastmlp
