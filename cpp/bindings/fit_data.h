// The data of a fit: checked arrays, and their places in the network's memory.
#pragma once

#include <optional>

#include "bindings/device_arrays.h"
#include "bindings/gil.h"
#include "bindings/row_args.h"
#include "bindings/staging.h"
#include "bindings/target_args.h"
#include "core/trainer.h"

namespace fastmlp::bindings {

// What errors call the arrays of a data set.
struct DataNames {
  const char* x;
  TargetNames t;
};

template <class T>
struct FitData {
  // With `by_parts`, what can stay in files does so; else targets are all brought to memory.
  FitData(const Device& device, bool by_parts_)
      : x_copy(device), copies(device), by_parts(by_parts_), stays(by_parts && device.host) {}
  FitData(const FitData&) = delete;
  FitData& operator=(const FitData&) = delete;

  // Makes the data set that of x and t, as the host has them.
  void take_host();
  // The shares of its rows, or the sum of them.
  void take_shares();
  // Fetches all inputs that come from a source, to the host's memory.
  void fetch();
  // Brings to the device what came from the host; the output has so many columns.
  void upload_copies(Index columns);
  // Calls the function (unless it is None) in place of a loss, when the GIL has been released.
  void take_function(const py::object& called, Index columns, std::optional<WithoutGil>& released);

  DataSet<T> set;
  RowsArg<T> x;                    // of the host,
  TargetArg<T> t;                  // which keep the data alive,
  DeviceArray device_x, device_t;  // and so do these
  py::object function;             // that is called
  std::vector<double> shares;
  Buffer<T> x_copy;
  TargetCopies<T> copies;
  const bool by_parts;
  bool stays;  // in the host's memory and in files
};

// ValueError unless there are some.
void check_has_rows(const RowsShape& rows, const char* name);

}  // namespace fastmlp::bindings
