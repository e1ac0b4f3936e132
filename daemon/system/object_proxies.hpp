// Proxies of other services' objects that are asked one thing.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace cuda_nspawn {

class ObjectProxies {
public:
    ObjectProxies(sdbus::IConnection& connection, sdbus::ServiceName service)
        : connection_(connection), service_(std::move(service)) {}
    // A proxy lives until its call is answered, since the reply's handler holds it; what was never answered holds
    // itself.
    ~ObjectProxies() {
        for (const auto& proxy : proxies_)
            if (const auto waiting = proxy.lock()) waiting->unregister();
    }
    ObjectProxies(const ObjectProxies&) = delete;
    ObjectProxies& operator=(const ObjectProxies&) = delete;

    // To be captured by the handler of the reply.
    std::shared_ptr<sdbus::IProxy> at(const sdbus::ObjectPath& path) {
        std::erase_if(proxies_, [](const auto& proxy) { return proxy.expired(); });
        const std::shared_ptr<sdbus::IProxy> proxy = sdbus::createProxy(connection_, service_, path);
        proxies_.push_back(proxy);
        return proxy;
    }

private:
    sdbus::IConnection& connection_;
    sdbus::ServiceName service_;
    std::vector<std::weak_ptr<sdbus::IProxy>> proxies_;
};

}  // namespace cuda_nspawn
