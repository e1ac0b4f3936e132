// The commands are run here as they are printed: what they do to a file is what they are for.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "doctor/remedies.hpp"

namespace cuda_nspawn {
namespace {

class DoctorRemedies : public testing::Test {
protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "remedies.XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        directory_ = name;
        file_ = name + "/it's a \"file\"; $(false)";
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    // What the third line of a file becomes.
    std::string after(const std::string& line, std::string (*remedy)(const EnvironmentSetting&, std::string_view),
                      std::string_view argument, const std::string& variable) {
        std::ofstream(file_) << "1\n2\n" << line << "\n" << line << "\n";
        const std::string command = remedy({file_.string(), 3, "", variable, ""}, argument);
        EXPECT_EQ(std::system(command.c_str()), 0) << command;  // NOLINT: the command is what is tested
        std::ifstream stream(file_);
        std::string first, second, third, fourth;
        std::getline(stream, first);
        std::getline(stream, second);
        std::getline(stream, third);
        std::getline(stream, fourth);
        EXPECT_EQ(first + second, "12");
        EXPECT_EQ(fourth, line) << "other lines stay";
        return third;
    }
    std::string without(const std::string& line, std::string_view path) {
        return after(line, take_out, path, "LD_LIBRARY_PATH");
    }
    std::string with_value(const std::string& line, std::string_view value) {
        return after(line, set_to, value, "CUDA_VISIBLE_DEVICES");
    }

    std::filesystem::path directory_, file_;
};

TEST_F(DoctorRemedies, take_one_directory_out_of_a_list) {
    EXPECT_EQ(without("LD_LIBRARY_PATH=/opt/old", "/opt/old"), "LD_LIBRARY_PATH=");
    EXPECT_EQ(without("LD_LIBRARY_PATH=/opt/old:/b", "/opt/old"), "LD_LIBRARY_PATH=/b");
    EXPECT_EQ(without("LD_LIBRARY_PATH=/a:/opt/old/:/b", "/opt/old/"), "LD_LIBRARY_PATH=/a:/b");
    EXPECT_EQ(without("LD_LIBRARY_PATH=/a:/opt/old", "/opt/old"), "LD_LIBRARY_PATH=/a");
    EXPECT_EQ(without("Environment=A=1 LD_LIBRARY_PATH=/opt/old:/opt/old:/opt/old B=2", "/opt/old"),
              "Environment=A=1 LD_LIBRARY_PATH= B=2");
    EXPECT_EQ(without("Environment=\"LD_LIBRARY_PATH=/opt/old:/opt/old2:/x/opt/old\"", "/opt/old"),
              "Environment=\"LD_LIBRARY_PATH=/opt/old2:/x/opt/old\"")
        << "others that begin or end like it stay";
    EXPECT_EQ(without("LD_LIBRARY_PATH=/optXold", "/opt.old"), "LD_LIBRARY_PATH=/optXold");
}

TEST_F(DoctorRemedies, take_a_directory_out_of_what_a_shell_reads) {
    EXPECT_EQ(without("LD_LIBRARY_PATH=/opt/old; export LD_LIBRARY_PATH", "/opt/old"),
              "LD_LIBRARY_PATH=; export LD_LIBRARY_PATH");
    EXPECT_EQ(without("export LD_LIBRARY_PATH=\"/opt/old:$LD_LIBRARY_PATH\"", "/opt/old"),
              "export LD_LIBRARY_PATH=\"$LD_LIBRARY_PATH\"");
    EXPECT_EQ(without("export LD_LIBRARY_PATH=/opt/old${LD_LIBRARY_PATH:+:${LD_LIBRARY_PATH}}", "/opt/old"),
              "export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+${LD_LIBRARY_PATH}}");
}

TEST_F(DoctorRemedies, take_out_a_directory_with_a_hostile_name) {
    for (const std::string path : {"/a,b", "/a[b]*c", "/a'b", "/a$(reboot)", "/a\\1", "/a|b(c){2}", "/é"})
        EXPECT_EQ(without("LD_LIBRARY_PATH=/x:" + path + ":/y", path), "LD_LIBRARY_PATH=/x:/y") << path;
}

TEST_F(DoctorRemedies, give_a_variable_another_value) {
    EXPECT_EQ(with_value("CUDA_VISIBLE_DEVICES=", "0,1"), "CUDA_VISIBLE_DEVICES=0,1");
    EXPECT_EQ(with_value("CUDA_VISIBLE_DEVICES=\"\"", "0"), "CUDA_VISIBLE_DEVICES=0");
    EXPECT_EQ(with_value("Environment=\"CUDA_VISIBLE_DEVICES=-1\" A=1", "0"),
              "Environment=\"CUDA_VISIBLE_DEVICES=0\" A=1");
    EXPECT_EQ(with_value("export CUDA_VISIBLE_DEVICES=-1;true", "0"), "export CUDA_VISIBLE_DEVICES=0;true");
    EXPECT_EQ(with_value("CUDA_VISIBLE_DEVICES=-1", ""), "#CUDA_VISIBLE_DEVICES=-1");
}

TEST_F(DoctorRemedies, remove_a_library_with_the_file_that_it_is) {
    const auto make = [&](const std::string& name) {
        std::ofstream(directory_ / (name + ".535.183.01")) << "x";
        std::filesystem::create_symlink(name + ".535.183.01", directory_ / name);
        return (directory_ / name).string();
    };
    // ldconfig is root's.
    const std::string quiet = "ldconfig() { :; }; ";
    EXPECT_EQ(std::system((quiet + remove_libraries({make("a b")})).c_str()), 0);                 // NOLINT
    EXPECT_EQ(std::system((quiet + remove_libraries({make("c'd"), make("e$(f)")})).c_str()), 0);  // NOLINT
    EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(DoctorRemedies, have_no_command_for_what_cannot_be_typed) {
    EXPECT_EQ(remove_libraries({}), "");
    EXPECT_EQ(remove_libraries({"/a\nb"}), "");
    EXPECT_EQ(remove_libraries({"relative"}), "");
    EXPECT_EQ(take_out({"/f\x1b", 1, "", "LD_LIBRARY_PATH", ""}, "/a"), "");
    EXPECT_EQ(take_out({"/f", 1, "", "LD_LIBRARY_PATH", ""}, "/a\xff"), "");
    EXPECT_EQ(take_out({"/f", 0, "", "LD_LIBRARY_PATH", ""}, "/a"), "") << "no line is known";
    EXPECT_EQ(take_out_of_loader("/a\nb"), "");
    EXPECT_EQ(one_after_the_other({"a", ""}), "");
    EXPECT_EQ(one_after_the_other({"a", "b", "a"}), "a && b");
}

TEST_F(DoctorRemedies, quote_words_for_the_shell) {
    EXPECT_EQ(shell_word("/usr/lib/a_b-1.2+c:@%="), "/usr/lib/a_b-1.2+c:@%=");
    EXPECT_EQ(shell_word("a b"), "'a b'");
    EXPECT_EQ(shell_word(""), "''");
    EXPECT_EQ(shell_word("it's"), R"('it'\''s')");
}

}  // namespace
}  // namespace cuda_nspawn
