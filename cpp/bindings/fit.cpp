// The native training of a network, or of several of one shape side by side: arguments are checked and converted once, and
// copied to the device once where they do not lie there; then it runs without the GIL.
#include <numeric>
#include <unordered_map>

#include "bindings/cpython.h"
#include "bindings/exchange.h"
#include "bindings/fit_data.h"
#include "bindings/gil.h"
#include "bindings/network_of.h"
#include "core/strategies/device/block_kind.h"

namespace fastmlp::bindings {

namespace {

// Marks the parameters as being trained, and their gradients as in use.
template <class T>
class FitMark {
 public:
  explicit FitMark(const Network<T>& network) : parameters_(network.parameters()), users_(parameters_) {
    renew_gradients();
    for (const auto& parameter : parameters_) ++parameter->fits;
  }
  ~FitMark() {
    for (const auto& parameter : parameters_) --parameter->fits;
  }
  FitMark(const FitMark&) = delete;
  FitMark& operator=(const FitMark&) = delete;

  // Forgets the gradients: those that somebody has kept stay as they are. Needs the GIL.
  void renew_gradients() const {
    for (const auto& parameter : parameters_) {
      parameter->has_grad = false;
      if (parameter->requires_grad) parameter->grad_buffer(1);
    }
  }

 private:
  const typename UsesGradients<T>::Parameters& parameters_;
  const UsesGradients<T> users_;
};

void check_reduction(const LossSpec& spec) {
  if (spec.reduction == Reduction::None)
    throw py::value_error("loss_fn: expected a loss with reduction 'mean' or 'sum' for training, got 'none'");
}

bool is_array(const py::object& object) { return Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_; }

// Whether they are one array, or two of the same numbers in memory.
bool same_array(const py::object& a, const py::object& b) {
  if (a.is(b)) return true;
  if (!is_array(a) || !is_array(b)) return false;
  const auto x = py::reinterpret_borrow<py::array>(a), y = py::reinterpret_borrow<py::array>(b);
  return x.data() == y.data() && x.dtype().is(y.dtype()) && x.ndim() == y.ndim() &&
         std::equal(x.shape(), x.shape() + x.ndim(), y.shape()) &&
         std::equal(x.strides(), x.strides() + x.ndim(), y.strides());
}

// The data of a group: what comes from the same arrays is there once.
template <class T>
class GroupData {
 public:
  // What `take` makes of them the first time; true: it is new.
  template <class Take>
  std::pair<std::shared_ptr<FitData<T>>, bool> find(const FitRequest::Data& from, const Take& take) {
    const void* const place = is_array(from.x) ? py::reinterpret_borrow<py::array>(from.x).data() : from.x.ptr();
    auto& known = known_[place];
    for (const auto& [other, data] : known)
      if (same_array(from.x, other->x) && same_array(from.t, other->t) &&
          same_array(from.sample_weight, other->sample_weight))
        return {data, false};
    known.emplace_back(&from, take());
    return {known.back().second, true};
  }

 private:
  std::unordered_map<const void*, std::vector<std::pair<const FitRequest::Data*, std::shared_ptr<FitData<T>>>>> known_;
};

constexpr DataNames kTrainingNames{"x", kTargetNames};
constexpr DataNames kValidationNames{"validation_data x", {"validation_data t", "validation_data sample_weight"}};

}  // namespace

// One network's part of a training. `released` is set while it runs.
template <class T>
class FitMember {
 public:
  // `by_parts`: rows of files may stay there.
  FitMember(NetworkOf<T>& network, const FitRequest& request, std::optional<WithoutGil>& released, bool by_parts)
      : spec(request.loss.spec),
        request_(request),
        owner_(network),
        network_(*network.network_),
        optimizer_(optimizer_of(request)),
        released_(released),
        by_parts_(by_parts),
        comes_in_batches_(!request.next_batch.is_none()),
        first_(checked_first()),
        fitting_(request.history.owner, "trainer: another thread is in its fit"),
        stepping_(optimizer_.owner, "optimizer: another thread is in a step or fit with it"),
        trainee_(network_, optimizer_.optimizer, request.history),
        options_(request.options) {}
  FitMember(const FitMember&) = delete;
  FitMember& operator=(const FitMember&) = delete;

  LossSpec spec;  // of the epoch that is under way

  // The array whose stream the training is to run in, if it lies on the device, and its name.
  std::optional<DeviceArray> device_data() const {
    for (const FitRequest::Data* data : {&first_, &request_.validation})
      for (const auto& [object, name] : {std::pair(&data->x, "x"), std::pair(&data->t, "t")})
        if (owner_.takes_device_array(*object)) return device_array(*object, name);
    return std::nullopt;
  }
  // The stream of the last pass has to live until this one has waited for it, which the result says.
  py::object keep_stream(const py::object& stream) {
    return stream ? std::exchange(owner_.last_stream_, stream) : owner_.last_stream_;
  }

  void take_data(GroupData<T>& group) {
    const Device& device = network_.device();
    std::tie(training_, brings_training_) = group.find(first_, [&] {
      auto data = std::make_shared<FitData<T>>(device, by_parts_ && !comes_in_batches_);
      owner_.take_data(*data, request_, first_, kTrainingNames);
      if ((comes_in_batches_ || optimizer_.method()) && !owner_.staging_) data->fetch();
      return data;
    });
    if (!request_.validation.x.is_none()) {
      std::tie(validation_, brings_validation_) = group.find(request_.validation, [&] {
        auto data = std::make_shared<FitData<T>>(device, by_parts_ && device.host);
        owner_.take_data(*data, request_, request_.validation, kValidationNames);
        return data;
      });
      if (validation_->set.columns != training_->set.columns)
        throw py::value_error("validation_data x has " + std::to_string(validation_->set.columns) +
                              " features, but x has " + std::to_string(training_->set.columns));
    }
    take_options();
  }

  void prepare() {
    set_hooks();
    optimizer_.check_parameters();
  }
  // Everything is right, of all networks. Returns whether nothing is to be trained.
  bool begin() const { return !request_.on_begin.is_none() && request_.on_begin().template cast<bool>(); }
  void mark() {
    if (brings_training_) training_->take_function(first_.function, columns(), released_);
    if (validation_ && brings_validation_)
      validation_->take_function(request_.validation.function, columns(), released_);
    mark_.emplace(network_);
  }
  // Without the GIL.
  void upload() {
    if (!owner_.staging_) return;
    if (brings_training_) training_->upload_copies(columns());
    if (validation_ && brings_validation_) validation_->upload_copies(columns());
  }

  Trainee<T> trainee() const {
    Trainee<T> own = trainee_;
    own.data = &training_->set;
    own.validation = validation();
    own.seed = options_.seed;
    return own;
  }
  const DataSet<T>& data() const { return training_->set; }
  const DataSet<T>* validation() const { return validation_ ? &validation_->set : nullptr; }
  const FitOptions& options() const { return options_; }

  void poll(Index epoch, double recent_loss) const {
    const WithoutGil::Pause acquire(*released_);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!request_.on_poll.is_none()) request_.on_poll(epoch, recent_loss);
  }

  // Empty: the rows are all there.
  BatchHook<T> batches() {
    if (!comes_in_batches_) return {};
    return [this] { return next_set(); };
  }

 private:
  static OptimizerOf<T>& optimizer_of(const FitRequest& request) {
    auto* const optimizer = dynamic_cast<OptimizerOf<T>*>(&request.optimizer);
    if (!optimizer)
      throw py::type_error(std::string("optimizer: expected parameters of the model's dtype ") + dtype_name<T>());
    return *optimizer;
  }
  Index columns() const { return owner_.output_columns(training_->set.columns); }

  std::optional<FitRequest::Data> next_batch() const {
    const py::object batch = request_.next_batch();
    if (batch.is_none()) return std::nullopt;
    const auto parts = batch.cast<py::tuple>();
    return FitRequest::Data{parts[0], parts[1], parts[2], parts[3]};
  }
  FitRequest::Data checked_first() const {
    check_reduction(spec);
    const FitRequest::Data first = comes_in_batches_ ? next_batch().value() : request_.training;
    if (spec.kind == LossKind::BCE && first.function.is_none() && !gives_probabilities(network_))
      throw py::value_error(
          "loss_fn: BCELoss expects outputs from 0 to 1; end the model with Sigmoid, or use BCEWithLogitsLoss");
    return first;
  }

  const char* of_batches() const {
    return comes_in_batches_ ? "x: one of the batches" : "batch_size: one of the batches";
  }
  void take_options() {
    const Index rows = training_->set.rows;
    const bool takes_all = optimizer_.method() || !request_.own_step.is_none();
    if (!request_.exchange.is_none())
      options_.bucket_bytes = request_.exchange.attr("bucket_bytes").template cast<Index>();
    if (comes_in_batches_ || takes_all) options_.batch_size = rows;
    options_.batch_size = std::min(options_.batch_size, rows);
    owner_.check_rows(std::min(options_.batch_size, (rows - 1) % options_.batch_size + 1), true, of_batches());
    if (validation_) owner_.check_rows(validation_->set.rows, false, kValidationNames.x);
  }

  std::vector<const T*> places() const {
    std::vector<const T*> values;
    for (const auto& parameter : network_.parameters()) values.push_back(parameter->value.data());
    return values;
  }

  void set_hooks() {
    trainee_.early_stopping = request_.early_stopping;
    trainee_.convergence = request_.convergence;
    trainee_.method = optimizer_.method();
    if (!request_.exchange.is_none()) trainee_.exchange = &exchange_.emplace(request_.exchange, released_);
    if (!request_.metrics.empty()) trainee_.measure = owner_.measure(request_, *validation_, released_);
    if (exchange_ && trainee_.measure)
      trainee_.measure = [this, own = trainee_.measure] { return exchange_->metrics(own(), validation_rows()); };
    for (const auto& [name, metric] : request_.metrics) trainee_.metrics.push_back(name);
    if (!request_.on_epoch.is_none())
      trainee_.on_epoch = [this, start = places()](const EpochResult& result, bool stops) {
        return end_epoch(result, stops, start);
      };
    if (!request_.own_step.is_none())
      trainee_.own_step = [this] {
        const WithoutGil::Pause acquire(*released_);
        return request_.own_step().template cast<double>();
      };
    if (request_.on_plan.is_none()) return;
    // Of batches that come by and by nobody knows how many there are.
    Index count = (training_->set.rows + options_.batch_size - 1) / options_.batch_size;
    if (exchange_) count = request_.exchange.attr("batches").template cast<std::optional<Index>>().value_or(0);
    const Index steps = comes_in_batches_ ? 0 : (count + options_.accumulate - 1) / options_.accumulate;
    request_.on_plan(options_.max_epoch, steps);  // before anything changes: a schedule may be too short
    trainee_.on_plan = [this, steps](Index epochs_left) {
      const WithoutGil::Pause acquire(*released_);
      request_.on_plan(epochs_left, steps);
    };
  }

  // Or the sum of their weights: what a mean over them counts.
  double validation_rows() const {
    const DataSet<T>& set = validation_->set;
    const T* const weights = validation_->t.targets.weights;
    if (weights) return std::accumulate(weights, weights + set.rows, 0.0);
    return set.all_shares.value_or(static_cast<double>(set.rows));
  }

  bool end_epoch(const EpochResult& result, bool stops, const std::vector<const T*>& start) {
    const WithoutGil::Pause acquire(*released_);
    const py::object value = result.validation_loss ? py::object(py::float_(*result.validation_loss)) : py::none();
    const bool stop = request_.on_epoch(result.epoch, result.loss, value, result.metrics, stops).template cast<bool>();
    if (places() != start)
      throw std::runtime_error(std::string("callbacks: expected the model to stay on ") + network_.device().name +
                               ", but one has moved it");
    join_streams(network_.device());
    check_reduction(request_.loss.spec);
    if (request_.loss.spec.kind == spec.kind) spec = request_.loss.spec;
    if (!stop) mark_->renew_gradients();
    return stop;
  }

  // The first batch is there already.
  const DataSet<T>* next_set() {
    if (!std::exchange(begun_, true)) return &training_->set;
    const WithoutGil::Pause acquire(*released_);
    const std::optional<FitRequest::Data> batch = next_batch();
    if (!batch) return nullptr;
    const Index columns = training_->set.columns;
    FitData<T>& data = batch_.emplace(network_.device(), false);
    owner_.take_data(data, request_, *batch, kTrainingNames);
    if (data.set.columns != columns)
      throw py::value_error("x: expected batches of " + std::to_string(columns) + " features, as before, got " +
                            std::to_string(data.set.columns));
    owner_.check_rows(data.set.rows, true, of_batches());
    join_streams(network_.device());
    if (!owner_.staging_) data.fetch();
    if (owner_.staging_) data.upload_copies(this->columns());
    data.take_function(batch->function, this->columns(), released_);
    return &data.set;
  }

  const FitRequest& request_;
  NetworkOf<T>& owner_;
  Network<T>& network_;
  OptimizerOf<T>& optimizer_;
  std::optional<WithoutGil>& released_;
  const bool by_parts_, comes_in_batches_;
  const FitRequest::Data first_;
  const Owner::Claim fitting_, stepping_;
  std::shared_ptr<FitData<T>> training_, validation_;
  bool brings_training_ = false, brings_validation_ = false;  // to the device
  std::optional<FitData<T>> batch_;                           // after the first
  std::optional<FitMark<T>> mark_;
  std::optional<PythonExchange> exchange_;
  Trainee<T> trainee_;
  FitOptions options_;
  bool begun_ = false;
};

template <class T>
void NetworkOf<T>::fit(const std::vector<FitRequest>& requests) {
  std::vector<std::unique_ptr<FitMember<T>>> members;
  std::optional<WithoutGil> released;
  for (const FitRequest& request : requests) {
    auto* const network = dynamic_cast<NetworkOf<T>*>(&request.network);
    if (!network || &network->network_->device() != &network_->device() || request.loss.spec != requests[0].loss.spec)
      throw py::value_error("trainers: expected a group of one dtype, device and loss");
    if (requests.size() > 1 && network_->device().host)
      throw py::value_error("trainers: expected a group on a CUDA device, got one on the CPU");
    members.push_back(std::make_unique<FitMember<T>>(*network, request, released, requests.size() == 1));
  }
  FitMember<T>& first = *members[0];
  const Device& device = network_->device();
  // A group has a stream of its own, unless its data have one.
  std::optional<CallerStream> stream;
  std::optional<OwnStream> own;
  std::optional<StreamScope> scope;
  if (const std::optional<DeviceArray> data = first.device_data())
    stream.emplace(device, *data, true);
  else if (members.size() > 1)
    scope.emplace(own.emplace(device).stream());
  join_streams(device);
  std::vector<py::object> streams;
  for (const auto& member : members) streams.push_back(member->keep_stream(stream ? stream->owner() : py::object()));

  GroupData<T> data;
  for (const auto& member : members) member->take_data(data);
  for (const auto& member : members) member->prepare();
  for (const auto& member : members)
    if (member->begin()) return;
  for (const auto& member : members) member->mark();
  const struct Regain {  // the GIL, before what is Python's goes
    std::optional<WithoutGil>& released;
    ~Regain() { released.reset(); }
  } regain{released};
  released.emplace();
  for (const auto& member : members) member->upload();
  std::vector<Trainee<T>> group;
  for (const auto& member : members) group.push_back(member->trainee());
  const auto poll = [&](Index epoch, double recent_loss) { first.poll(epoch, recent_loss); };
  fastmlp::fit<T>(group, first.spec, first.data(), first.validation(), first.options(), poll, first.batches());
  check(device.synchronize(StreamScope::current()));  // or the last step's error would be that of a later call
}

template <class T>
std::optional<std::string> NetworkOf<T>::group_key(const OptimizerHandle& optimizer, const LossHandle& loss,
                                                   Index rows) const {
  const auto* const own = dynamic_cast<const OptimizerOf<T>*>(&optimizer);
  return own ? fastmlp::group_key(network_->program(), own->optimizer, loss.spec, rows) : std::nullopt;
}

#define FASTMLP_INSTANTIATE(T)                                     \
  template void NetworkOf<T>::fit(const std::vector<FitRequest>&); \
  template std::optional<std::string> NetworkOf<T>::group_key(const OptimizerHandle&, const LossHandle&, Index) const;
FASTMLP_INSTANTIATE(float)
FASTMLP_INSTANTIATE(double)
#undef FASTMLP_INSTANTIATE

}  // namespace fastmlp::bindings
