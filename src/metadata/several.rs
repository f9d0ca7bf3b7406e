//! Several clouds' servers at once, which no real machine has: a convenience for a lab that has a single address for all.
//!
//! Their paths have nothing in common but `/` and those that nobody has, which the first cloud answers.

use std::net::{IpAddr, SocketAddr};

use super::{Cloud, Options};
use crate::http::{Handler, Reply, Request};

/// What the paths of a cloud begin with. A cloud that is alone at its address needs none.
fn prefixes(cloud: Cloud) -> &'static [&'static str] {
    match cloud {
        Cloud::Aws => &["/latest", "/20", "/1.0"],
        Cloud::Gcp | Cloud::Gke => &["/computeMetadata", "/0.1"],
        Cloud::Azure => &[
            "/metadata/instance",
            "/metadata/attested",
            "/metadata/identity",
            "/metadata/loadbalancer",
            "/metadata/scheduledevents",
            "/metadata/versions",
            "/metadata/reprovisiondata",
            "/machine",
        ],
        Cloud::Oracle => &["/opc"],
        Cloud::Alibaba => &["/latest/meta-data/ram", "/2016-01-01"],
        Cloud::Digitalocean => &["/metadata/v1"],
        Cloud::Openstack => &["/openstack"],
        Cloud::Hetzner => &["/hetzner"],
        Cloud::Ecs => &["/v2", "/v3", "/v4"],
        Cloud::EksPodIdentity => &["/v1/credentials"],
    }
}

/// Where these clouds listen, each place once.
#[must_use]
pub fn endpoints(clouds: &[Cloud]) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for endpoint in clouds.iter().flat_map(|cloud| cloud.definition().endpoints) {
        if !all.contains(endpoint) {
            all.push(*endpoint);
        }
    }
    all
}

/// The addresses of these clouds, each once.
#[must_use]
pub fn addresses(clouds: &[Cloud]) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for address in clouds.iter().flat_map(|cloud| cloud.definition().addresses()) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// The server of one cloud, or one for several.
#[must_use]
pub fn servers(clouds: &[Cloud], options: &Options) -> Box<dyn Handler> {
    let server = |cloud: &Cloud| (*cloud, (cloud.definition().server)(options));
    match clouds {
        [cloud] => server(cloud).1,
        _ => Box::new(Several(clouds.iter().map(server).collect())),
    }
}

struct Several(Vec<(Cloud, Box<dyn Handler>)>);

impl Several {
    /// Of those that listen where the request came to, the one with the longest prefix of its path, or else the first.
    fn choose(&self, local: IpAddr, path: &str) -> Option<&dyn Handler> {
        let is_here = |cloud: Cloud| cloud.definition().addresses().contains(&local.to_canonical());
        let is_anywhere = !self.0.iter().any(|(cloud, _)| is_here(*cloud));
        let mut here: Vec<_> = self.0.iter().filter(|(cloud, _)| is_anywhere || is_here(*cloud)).collect();
        let fit =
            |cloud: Cloud| prefixes(cloud).iter().filter(|prefix| path.starts_with(**prefix)).map(|p| p.len()).max();
        // Stable: the first of equals stays first.
        here.sort_by_key(|(cloud, _)| std::cmp::Reverse(fit(*cloud)));
        here.first().map(|(_, handler)| handler.as_ref())
    }
}

impl Handler for Several {
    fn answer(&self, request: &Request) -> Reply {
        match self.choose(request.local.ip(), &request.path) {
            Some(handler) => handler.answer(request),
            None => crate::http::Response::text(404, "").into(),
        }
    }

    fn set(&self, path: &str, value: &str) -> Result<(), String> {
        let clouds = self.0.iter().filter(|(cloud, _)| prefixes(*cloud).iter().any(|prefix| path.starts_with(prefix)));
        let mut result = Err(format!("no server here has {path}"));
        for (_, handler) in clouds {
            result = handler.set(path, value);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::metadata::EXPOSURES;

    #[test]
    fn each_cloud_answers_its_own_paths() {
        // Two of Google's differ in nothing but what they give.
        let clouds: Vec<_> = Cloud::ALL.iter().copied().filter(|cloud| *cloud != Cloud::Gke).collect();
        let several =
            Several(clouds.iter().map(|cloud| (*cloud, (cloud.definition().server)(&Options::default()))).collect());
        let chosen = |local: IpAddr, path: &str| {
            let chosen = several.choose(local, path).unwrap();
            let found = several.0.iter().find(|(_, handler)| std::ptr::addr_eq(&raw const **handler, chosen));
            found.map(|(cloud, _)| *cloud).unwrap()
        };
        for exposure in EXPOSURES.iter().filter(|exposure| clouds.contains(&exposure.cloud)) {
            let cloud = chosen(exposure.endpoint().ip(), exposure.path);
            // In the form of AWS, whose server is at the same address.
            if exposure.path != "/latest/meta-data/instance-id" {
                assert_eq!(cloud, exposure.cloud, "{}", exposure.path);
            }
        }
        assert_eq!(chosen([169, 254, 169, 254].into(), "/"), Cloud::Aws);
    }
}
