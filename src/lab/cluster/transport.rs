//! How requests get to the API server: as `kube` has it by default, and at once.
//!
//! By default the system holds back what is less than a full packet until the packet before is acknowledged (RFC 896), which a
//! peer that has nothing to say puts off (RFC 9293, section 3.8.6.3), on Linux for 40 ms. What is written to a program in a pod goes in
//! pieces of 4 KiB, so each call that is longer would take that much longer.

use http::{Request, Response};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config, Error,
    client::{Body, ClientBuilder, ConfigExt, retry::RetryPolicy},
};
use tower::{
    BoxError, ServiceBuilder, ServiceExt,
    buffer::BufferLayer,
    filter::AsyncFilterLayer,
    retry::RetryLayer,
    util::{BoxService, option_layer},
};

use super::{patience::Patience, plugin::Token};

/// Requests that may wait for their turn to be sent.
const REQUESTS: usize = 1024;

/// A client whose requests carry this token, and are sent again with this patience, where there is one.
pub(super) fn client(config: Config, token: Option<Token>, patience: Option<Patience>) -> Result<Client, Error> {
    if config.proxy_url.is_some() {
        // `kube`'s ways by proxies are not built in: this says so, by the scheme.
        return ClientBuilder::try_from(config).map(ClientBuilder::build);
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let plain: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service: BoxService<Request<Body>, Response<_>, BoxError> = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(plain)
        .boxed();
    let builder = ClientBuilder::new(service, config.default_namespace);
    if token.is_none() && patience.is_none() {
        return Ok(builder.build());
    }
    // Requests that wait for a token, or are sent again, need a service that can be shared.
    let builder = builder.with_layer(&BufferLayer::new(REQUESTS));
    let builder = builder.with_layer(&option_layer(token.map(AsyncFilterLayer::new)));
    Ok(builder.with_layer(&option_layer(patience.map(RetryLayer::new))).build())
}
