#include "policy/yaml_tree.hpp"

#include <optional>
#include <sstream>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "policy/text_check.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t size_limit = std::size_t{64} * 1024;
constexpr std::size_t depth_limit = 8;
constexpr std::size_t node_limit = 2048;
constexpr std::size_t diagnostic_limit = 64;

// Ends yaml-cpp's parsing where a limit is reached; never leaves this file.
struct LimitReached {};

// yaml-cpp counts lines and columns from 0.
class TreeBuilder final : public YAML::EventHandler {
public:
    TreeBuilder(std::string_view path, YamlTree& tree) : path_(path), tree_(tree) {}

    void note(const YAML::Mark& mark, std::string message) {
        tree_.diagnostics.push_back({path_, line(mark), column(mark), std::move(message)});
    }

    void OnDocumentStart(const YAML::Mark& mark) override {
        if (++documents_ > 1) {
            note(mark, "A second document begins here; a file holds one, so take out what follows '---'.");
            throw LimitReached{};
        }
    }
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        refuse(mark, "", anchor);
        add(node(mark, YamlNode::Kind::null));
    }
    void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
        refuse(mark, "", 1);
        add(node(mark, YamlNode::Kind::null));
    }
    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& value) override {
        refuse(mark, tag, anchor);
        YamlNode scalar = node(mark, YamlNode::Kind::scalar);
        scalar.text = value;
        add(std::move(scalar));
    }
    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        refuse(mark, tag, anchor);
        open(node(mark, YamlNode::Kind::list));
    }
    void OnSequenceEnd() override { close(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value) override {
        refuse(mark, tag, anchor);
        open(node(mark, YamlNode::Kind::map));
    }
    void OnMapEnd() override { close(); }

private:
    struct OpenNode {
        YamlNode node;
        std::optional<YamlNode> key;  // of a map's entry whose value is still to come
    };

    void report(const YAML::Mark& mark, std::string message) {
        note(mark, std::move(message));
        if (tree_.diagnostics.size() >= diagnostic_limit) throw LimitReached{};
    }

    static unsigned line(const YAML::Mark& mark) { return mark.is_null() ? 0 : static_cast<unsigned>(mark.line) + 1; }
    static unsigned column(const YAML::Mark& mark) {
        return mark.is_null() ? 0 : static_cast<unsigned>(mark.column) + 1;
    }

    YamlNode node(const YAML::Mark& mark, YamlNode::Kind kind) {
        if (++nodes_ > node_limit) {
            note(mark, fmt::format("The file has more than {} values.", node_limit));
            throw LimitReached{};
        }
        YamlNode result;
        result.kind = kind;
        result.line = line(mark);
        result.column = column(mark);
        return result;
    }

    void refuse(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
        if (anchor != 0) report(mark, "Anchors and aliases are not used here; write the value where it is meant.");
        // "?" and "!" are yaml-cpp's words for "no tag": plain and quoted scalars.
        if (!tag.empty() && tag != "?" && tag != "!") {
            report(mark, fmt::format("The tag '{}' is not used here; leave it out.", tag));
        }
    }

    void open(YamlNode opened) {
        if (open_.size() >= depth_limit) {
            tree_.diagnostics.push_back({path_, opened.line, opened.column,
                                         fmt::format("Values are nested deeper than {} levels here.", depth_limit)});
            throw LimitReached{};
        }
        open_.push_back({std::move(opened), std::nullopt});
    }

    void close() {
        YamlNode closed = std::move(open_.back().node);
        open_.pop_back();
        add(std::move(closed));
    }

    void add(YamlNode added) {
        if (open_.empty()) {
            tree_.root = std::move(added);
            return;
        }
        OpenNode& parent = open_.back();
        if (parent.node.kind == YamlNode::Kind::list) {
            parent.node.items.push_back(std::move(added));
        } else if (!parent.key) {
            parent.key = std::move(added);
        } else {
            parent.node.entries.push_back({std::move(*parent.key), std::move(added)});
            parent.key.reset();
        }
    }

    std::string path_;
    YamlTree& tree_;
    std::vector<OpenNode> open_;
    std::size_t nodes_ = 0;
    unsigned documents_ = 0;
};

// YAML forbids tabs in indentation, and yaml-cpp's own message about one points elsewhere.
std::vector<Diagnostic> find_tabs(std::string_view path, std::string_view text) {
    std::vector<Diagnostic> found;
    unsigned line = 0;
    for (std::size_t begin = 0; begin < text.size() && found.size() < diagnostic_limit;) {
        ++line;
        std::size_t end = std::min(text.find('\n', begin), text.size());
        std::string_view content = text.substr(begin, end - begin);
        std::size_t indentation = std::min(content.find_first_not_of(" \t"), content.size());
        std::size_t tab = content.substr(0, indentation).find('\t');
        bool blank = content.find_first_not_of(" \t\r") == std::string_view::npos || content[indentation] == '#';
        if (tab != std::string_view::npos && !blank) {
            found.push_back({std::string(path), line, static_cast<unsigned>(tab) + 1,
                             "A tab indents this line; YAML allows only spaces."});
        }
        begin = end + 1;
    }
    return found;
}

void parse_documents(TreeBuilder& builder, std::string_view text) {
    std::istringstream stream{std::string(text)};
    try {
        YAML::Parser parser(stream);
        while (parser.HandleNextDocument(builder)) {}
    } catch (const LimitReached&) {
        return;  // reported where it was thrown
    } catch (const YAML::Exception& error) {
        if (error.msg.find("anchor") != std::string::npos) {
            builder.note(error.mark, "Anchors and aliases are not used here; write the value where it is meant.");
        } else {
            builder.note(error.mark, fmt::format("The text is no valid YAML here ({}); look at the indentation, the "
                                                 "colons and the quotes.",
                                                 error.msg));
        }
    }
}

}  // namespace

YamlTree read_yaml(std::string_view path, std::string_view text) {
    YamlTree tree;
    if (auto wrong = check_text(path, text, size_limit)) {
        tree.diagnostics.push_back(std::move(*wrong));
        return tree;
    }
    tree.diagnostics = find_tabs(path, text);
    if (!tree.diagnostics.empty()) return tree;
    TreeBuilder builder(path, tree);
    parse_documents(builder, text);
    return tree;
}

}  // namespace cuda_nspawn
