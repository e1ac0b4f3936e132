#include "worker/serve.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>

#include "driver_fixture.hpp"
#include "elf/file_descriptor.hpp"
#include "worker/protocol.hpp"

namespace cuda_nspawn {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

std::string echo(const std::string& request) {
    if (request == "throw") throw std::runtime_error("the disk is full");
    if (request == "hang") ::pause();
    return "did " + request + "\n";
}

class Serve : public ::testing::Test {
protected:
    Serve() : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        address_.sun_family = AF_UNIX;
        tree_.at("/socket").string().copy(address_.sun_path, sizeof address_.sun_path - 1);
        if (!listener_ || ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address_), sizeof address_) < 0 ||
            ::listen(listener_.get(), 16) < 0)
            throw std::runtime_error("the socket cannot be made");
        limits.idle = 500ms;
        limits.transfer = 100ms;
        limits.work_seconds = 1;
        limits.request_bytes = 1000;
    }
    ~Serve() override {
        if (server_.joinable()) server_.join();
    }

    void start() {
        server_ = std::thread([this] { serve(listener_.get(), echo, limits); });
    }
    FileDescriptor connect() const {
        FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address_), sizeof address_) < 0)
            throw std::runtime_error("cannot connect");
        return fd;
    }
    static void write(const FileDescriptor& fd, const std::string& text) {
        EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    }
    static std::string read(const FileDescriptor& fd) {
        std::string text;
        char piece[256];
        for (ssize_t size; (size = ::recv(fd.get(), piece, sizeof piece, 0)) > 0;)
            text.append(piece, static_cast<std::size_t>(size));
        return text;
    }
    std::string ask(const std::string& request) const {
        const FileDescriptor fd = connect();
        write(fd, request);
        ::shutdown(fd.get(), SHUT_WR);
        return read(fd);
    }
    pid_t start_process() {
        const pid_t child = ::fork();
        if (child != 0) return child;
        serve(listener_.get(), echo, limits);
        ::_exit(0);
    }

    ServeLimits limits;
    testing::TemporaryTree tree_;

private:
    FileDescriptor listener_;
    sockaddr_un address_{};
    std::thread server_;
};

TEST_F(Serve, answers_one_request_after_the_other_and_returns_when_idle) {
    start();
    EXPECT_EQ(ask("a"), "did a\n");
    EXPECT_EQ(ask("b"), "did b\n");
    EXPECT_EQ(ask(""), "did \n");
}

TEST_F(Serve, what_the_work_throws_is_a_report_and_no_end) {
    start();
    EXPECT_EQ(parse_failure(ask("throw")), "the disk is full");
    EXPECT_EQ(ask("a"), "did a\n");
}

TEST_F(Serve, a_request_that_is_too_large_is_refused_in_words) {
    start();
    EXPECT_EQ(ask(std::string(1000, 'x')), "did " + std::string(1000, 'x') + "\n");
    EXPECT_EQ(parse_failure(ask(std::string(1001, 'x'))), "the request is larger than 1000 bytes");
    EXPECT_EQ(parse_failure(ask(std::string(100000, 'x'))), "the request is larger than 1000 bytes");
}

TEST_F(Serve, a_client_that_stalls_holds_the_others_up_for_a_moment_only) {
    start();
    const FileDescriptor stalled = connect();
    write(stalled, "half a requ");
    EXPECT_EQ(ask("a"), "did a\n");
    EXPECT_EQ(read(stalled), "");
}

TEST_F(Serve, a_client_that_drips_is_no_better_than_one_that_stalls) {
    start();
    const FileDescriptor dripping = connect();
    std::thread drip([&] {
        for (int i = 0; i < 100 && ::send(dripping.get(), "x", 1, MSG_NOSIGNAL) == 1; ++i)
            std::this_thread::sleep_for(20ms);
    });
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(ask("a"), "did a\n");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
    drip.join();
}

TEST_F(Serve, a_client_that_goes_away_or_does_not_read_is_let_go) {
    limits.request_bytes = 1 << 22;
    start();
    for (const bool finished : {false, true}) {
        const FileDescriptor gone = connect();
        write(gone, "a");
        if (finished) ::shutdown(gone.get(), SHUT_WR);
    }
    // On a busy machine its time may be up while it still writes; it is let go all the same.
    const FileDescriptor deaf = connect();
    const std::string much(1 << 22, 'x');
    if (::send(deaf.get(), much.data(), much.size(), MSG_NOSIGNAL) > 0) ::shutdown(deaf.get(), SHUT_WR);
    EXPECT_EQ(ask("b"), "did b\n");
}

TEST_F(Serve, work_that_hangs_ends_the_process_and_the_next_one_serves_on) {
    const pid_t hanging = start_process();
    EXPECT_EQ(ask("hang"), "");
    int status = 0;
    EXPECT_EQ(::waitpid(hanging, &status, 0), hanging);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    start();
    EXPECT_EQ(ask("a"), "did a\n");
}

TEST_F(Serve, the_time_limit_is_of_the_work_and_not_of_the_wait_after_it) {
    limits.idle = 1500ms;
    const pid_t child = start_process();
    EXPECT_EQ(ask("a"), "did a\n");
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(Serve, another_user_is_not_heard_even_where_the_socket_is_open_to_him) {
    if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
    ASSERT_EQ(::chmod(tree_.path().c_str(), 0755), 0);
    ASSERT_EQ(::chmod(tree_.at("/socket").c_str(), 0666), 0);
    start();
    const pid_t other = ::fork();
    if (other == 0) ::_exit(::setuid(65534) == 0 && ask("a").empty() ? 0 : 1);
    int status = 0;
    EXPECT_EQ(::waitpid(other, &status, 0), other);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT_EQ(ask("a"), "did a\n");
}

TEST(InheritedListener, a_worker_without_a_socket_names_the_unit_to_start) {
    try {
        inherited_listener();
        FAIL() << "took a descriptor that nobody passed";
    } catch (const std::runtime_error& error) {
        EXPECT_THAT(error.what(), HasSubstr(".socket unit"));
    }
}

}  // namespace
}  // namespace cuda_nspawn
