#include "bindings/handles.h"

PYBIND11_MODULE(_core, m) {
  using namespace fastmlp::bindings;
  m.attr("__version__") = FASTMLP_VERSION;
  bind_runtime(m);
  bind_random(m);
  bind_parameter(m);
  bind_tensor(m);
  bind_loss(m);
  bind_optimizer(m);
  bind_whole_batch(m);
  bind_schedules(m);
  bind_network(m);
  bind_model(m);
  bind_metrics(m);
  bind_trainer(m);
  bind_ops(m);
  bind_ensemble(m);
  bind_borrowed_chain(m);
}
