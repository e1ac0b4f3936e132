#include "engine/event.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "guest/printable.hpp"

namespace cuda_nspawn {

namespace {

constexpr std::size_t longest_value = 4096;  // bytes; a sentence

constexpr auto kinds = std::to_array<EventKind>({
    {Event::policy_read, "policy-read", Severity::info, "fc631424cfae4f9f9941a278a89e85ce"},
    {Event::policy_invalid, "policy-invalid", Severity::error, "831049de09a6496f849c0ee41c56fca6"},
    {Event::policy_removed, "policy-removed", Severity::info, "0fc97191e4c94b328caab3e19d50d469"},
    {Event::policy_ignored, "policy-ignored", Severity::error, "c460efdd652044f08c824ecc2df48d78"},
    {Event::image_seen, "image-seen", Severity::info, "99ade18f79e94156ae17bba908ae45c2"},
    {Event::guest_warning, "guest-warning", Severity::warning, "43af51062bc14d91b3cba0c3c28c1fe0"},
    {Event::machine_blocked, "machine-blocked", Severity::warning, "1f8d95245cd140229a59ad7cd80ca25a"},
    {Event::settings_refused, "settings-refused", Severity::error, "2ca21a274d9c43ae905e3030515686e2"},
    {Event::settings_note, "settings-note", Severity::warning, "8d5467782ae642f4a4892486fc2b5756"},
    {Event::exposure_made, "exposure-made", Severity::info, "84c38b54bb2e4824829bc139f5799059"},
    {Event::exposure_removed, "exposure-removed", Severity::info, "f6701b72f19e48e2be71e9bc9b7fc2de"},
    {Event::machine_started, "machine-started", Severity::info, "60ab3cdea4a043128a35761569d6af8a"},
    {Event::machine_ended, "machine-ended", Severity::info, "a2bdde6eae0a44c7a3663ca842f4d3a5"},
    {Event::rules_set, "rules-set", Severity::info, "ef6456242dd946bbbe8389befc71e64d"},
    {Event::driver_mounted, "driver-mounted", Severity::info, "566d65fc57f34b87b8b3e57542118fd6"},
    {Event::set_up_attended, "set-up-attended", Severity::info, "c1ea8dfa136c4a00b5a806926c015410"},
    {Event::attached, "attached", Severity::info, "77e58fce4296466d91515109ffb28127"},
    {Event::detached, "detached", Severity::info, "3f6f0b03292340a7937b78ba7b7e8801"},
    {Event::step_failed, "step-failed", Severity::error, "5b04a3c6a4cf4534a864eceb106b0361"},
    {Event::self_test_passed, "self-test-passed", Severity::notice, "a588945cdb3e4473b739c42855e51b04"},
    {Event::self_test_degraded, "self-test-degraded", Severity::warning, "4ebc425845c54053b477a6af93dfcdc9"},
    {Event::self_test_failed, "self-test-failed", Severity::error, "f195d9bee5fe444dbcdbaaa6b5de9922"},
    {Event::self_test_without_verdict, "self-test-without-verdict", Severity::error,
     "663c7386a0a04376874d73e4aed7fa1b"},
    {Event::detached_on_failure, "detached-on-failure", Severity::notice, "708d669d6c2a4826b91eb8932a40880b"},
    {Event::stopped_on_failure, "stopped-on-failure", Severity::notice, "cffb6388a5fe4775beb910df6c09e64e"},
    {Event::stop_failed, "stop-failed", Severity::error, "b660e4b3bd074075bf7b77dca7cf3a80"},
    {Event::job_begun, "job-begun", Severity::info, "bf6c115ee35a4da48ac477cacefc85c3"},
    {Event::job_done, "job-done", Severity::info, "7327567e4ba748bc9f9e22b6b7fb665a"},
    {Event::job_failed, "job-failed", Severity::error, "df28a68ff4d248b48bd7e5343dd0bb20"},
    {Event::job_withdrawn, "job-withdrawn", Severity::info, "e41d4a201d874b5f866d7f1191bd798e"},
    {Event::driver_found, "driver-found", Severity::notice, "93468c91112c4eb28847df9a86fefb93"},
    {Event::driver_changed, "driver-changed", Severity::notice, "16dc8630913748029e542303f78c1690"},
    {Event::driver_problem, "driver-problem", Severity::warning, "5548d036037f4fd3a27283f2200a06ee"},
    {Event::driver_note, "driver-note", Severity::info, "acaf7f2fc0ed4c59995c79f39234d5b5"},
    {Event::generation_made, "generation-made", Severity::info, "30944ce382044fb6aedd95fbe5d4db3d"},
    {Event::generation_failed, "generation-failed", Severity::error, "ce2f571de4b749c3a3fd3ba6ee11a9d4"},
    {Event::generation_damaged, "generation-damaged", Severity::warning, "e353522e515648f6bd7154fea299a1d5"},
    {Event::generations_kept, "generations-kept", Severity::warning, "c2c31b69794d45b9a174e60cb2ab3f28"},
    {Event::modules_failed, "modules-failed", Severity::warning, "7695d926e51e485c9a07d69c812e839e"},
    {Event::worker_retried, "worker-retried", Severity::warning, "65549decb3ed4f039cbe750dcf3cd4d0"},
    {Event::worker_failed, "worker-failed", Severity::error, "e9feba015df942b38da8ee2bbf140737"},
    {Event::guest_program_said, "guest-program-said", Severity::notice, "264315af9a5e4b5db3bf9df57ae3d5a4"},
    {Event::changes_unnoticed, "changes-unnoticed", Severity::warning, "04006a2e15c141f6bb3431201176f55f"},
    {Event::holders_incomplete, "holders-incomplete", Severity::warning, "e539f7e92ba04fb79250d830d49e693f"},
    {Event::verification_begun, "verification-begun", Severity::info, "96472d4182b64b998d4fea3a233fe5fa"},
});

constexpr bool in_order() {
    for (std::size_t place = 0; place < kinds.size(); ++place)
        if (kinds.at(place).event != static_cast<Event>(place)) return false;
    return true;
}
static_assert(in_order(), "kind_of() finds a kind by its place");

}  // namespace

int priority(Severity severity) {
    switch (severity) {
        case Severity::debug:
            return 7;
        case Severity::info:
            return 6;
        case Severity::notice:
            return 5;
        case Severity::warning:
            return 4;
        case Severity::error:
            return 3;
    }
    return 6;
}

std::span<const EventKind> event_kinds() { return kinds; }

const EventKind& kind_of(Event event) { return kinds.at(static_cast<std::size_t>(event)); }

std::string line_of(std::string_view machine, std::string_view text) {
    return printable(machine.empty() ? std::string(text) : fmt::format("{}: {}", machine, text), longest_value);
}

std::vector<std::string> journal_fields(Severity severity, std::string_view machine, std::string_view text) {
    std::vector<std::string> fields{fmt::format("MESSAGE={}", line_of(machine, text)),
                                    fmt::format("PRIORITY={}", priority(severity))};
    if (machine.empty()) return fields;
    const std::string name = printable(machine, longest_value);
    fields.push_back(fmt::format("CUDA_NSPAWN_MACHINE={}", name));
    // journalctl -u and systemctl status show it with the machine's unit.
    fields.push_back(fmt::format("OBJECT_SYSTEMD_UNIT=cuda-nspawn@{}.service", name));
    return fields;
}

std::vector<std::string> journal_fields(const Message& message) {
    const EventKind& kind = kind_of(message.event);
    std::vector<std::string> fields = journal_fields(kind.severity, message.machine, message.text);
    fields.push_back(fmt::format("MESSAGE_ID={}", kind.message_id));
    const EventFields& known = message.fields;
    for (const auto& [name, value] :
         {std::pair("DRIVER", &known.driver), std::pair("GENERATION", &known.generation),
          std::pair("VERDICT", &known.verdict), std::pair("FINDING", &known.finding), std::pair("JOB", &known.job),
          std::pair("RESULT", &known.result), std::pair("STEP", &known.step)})
        if (!value->empty()) fields.push_back(fmt::format("CUDA_NSPAWN_{}={}", name, printable(*value, longest_value)));
    return fields;
}

}  // namespace cuda_nspawn
