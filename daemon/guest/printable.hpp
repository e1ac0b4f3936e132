// Text from a guest, made fit for a log, a bus and a terminal.
#pragma once

#include <string>
#include <string_view>

namespace cuda_nspawn {

// Valid UTF-8 of at most `limit` bytes, cut between characters: what is no UTF-8, a control character or one that
// turns the writing direction becomes U+FFFD, white space becomes a space.
std::string printable(std::string_view text, std::size_t limit);

}  // namespace cuda_nspawn
