#include "worker/diagnosis_protocol.hpp"

#include "worker/json_types.hpp"

namespace cuda_nspawn {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PciDevice, address, pci_class, driver)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HostNode, path, major, minor, mode, changed_usec)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HostEvidence, kernel_release, modules, pci, nodes, majors, unified_cgroups,
                                   secure_boot, iommu, mig_gpus, kernel_log, sockets, fabric_manager)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(UnitSetting, path, line, key, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Setting, section, key, value, line)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SettingsBind, line, source, destination, is_there, is_directory)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(AdminSettings, origin, path)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MachineEvidence, settings, settings_lines, binds, settings_notes, unit, unit_log)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CompatNote, cuda, drivers)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CompatLibrary, path, version, note)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CudaPackage, kind, name, version, cuda, path)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(EnvironmentSetting, file, line, unit, name, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GuestSoftware, libraries, compat, packages, environment, cached_libcuda, has_cache,
                                   reads_fragments, container_tools, has_cdi_spec, notes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LoadedLibrary, name, path, by, needed_by, version)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Program, path, problem, script_of, architecture, is_64bit, interpreter,
                                   has_interpreter, needed_glibc, library_path, libraries, libcuda, cudart)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SurveyRequest, machines, logs)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SurveyReport, host, machines)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ExamineRequest, machines, images, program, library_path)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Examined, path, guest, software, program, failure)

std::string to_json(const SurveyRequest& request) { return dump(request); }
SurveyRequest parse_survey_request(std::string_view text) { return parse<SurveyRequest>(text, "the request"); }
std::string to_json(const SurveyReport& report) { return dump(report); }
SurveyReport parse_survey_report(std::string_view text) { return parse<SurveyReport>(text, "the report"); }
std::string to_json(const ExamineRequest& request) { return dump(request); }
ExamineRequest parse_examine_request(std::string_view text) { return parse<ExamineRequest>(text, "the request"); }
std::string to_json(const Examined& examined) { return dump(examined); }
Examined parse_examined(std::string_view text) { return parse<Examined>(text, "what was examined"); }
std::string to_json(const ExamineReport& report) { return dump(report); }
ExamineReport parse_examine_report(std::string_view text) { return parse<ExamineReport>(text, "the report"); }

}  // namespace cuda_nspawn
