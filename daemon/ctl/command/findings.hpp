// What diagnose and audit share.
#pragma once

#include "ctl/client.hpp"

namespace cuda_nspawn::ctl {

// Of findings as the bus has them.
Json findings_json(const Value& findings);
bool has_error(const Json& findings);

}  // namespace cuda_nspawn::ctl
