//! What metadata servers give away, in six categories, and where each cloud has it: one table for the documentation, the
//! audit and the tests.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Cloud, WIRESERVER, on};

/// A kind of metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "harness", derive(schemars::JsonSchema))]
pub enum Category {
    /// Which machine it is: id, type, zone, host name.
    Instance,
    /// How it is set up: scripts, SSH keys, tags and labels.
    Configuration,
    /// What it may do elsewhere: access keys and tokens that expire.
    Credentials,
    /// Its addresses, gateways and name servers.
    Network,
    /// What its owner gave it: user data and values of their own.
    Customization,
    /// Who it is, signed; certificates and keys.
    Security,
}

impl Category {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::Instance, Self::Configuration, Self::Credentials, Self::Network, Self::Customization, Self::Security];

    /// Its name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Configuration => "configuration",
            Self::Credentials => "credentials",
            Self::Network => "network",
            Self::Customization => "customization",
            Self::Security => "security",
        }
    }

    /// What it is for, in words for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Instance => "instance information",
            Self::Configuration => "configuration data",
            Self::Credentials => "temporary credentials",
            Self::Network => "network data",
            Self::Customization => "dynamic customization",
            Self::Security => "security information",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Something of a category that a cloud's server gives to who may reach it.
#[derive(Clone, Copy, Debug)]
pub struct Exposure {
    /// The cloud.
    pub cloud: Cloud,
    /// The category.
    pub category: Category,
    /// Where it is asked, where that is not the cloud's first endpoint.
    elsewhere: Option<SocketAddr>,
    /// The path, with its query.
    pub path: &'static str,
}

impl Exposure {
    const fn new(cloud: Cloud, category: Category, path: &'static str) -> Self {
        Self { cloud, category, elsewhere: None, path }
    }

    const fn at(self, endpoint: SocketAddr) -> Self {
        Self { elsewhere: Some(endpoint), ..self }
    }

    /// Where it is asked.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        self.elsewhere.unwrap_or(self.cloud.definition().endpoints[0])
    }

    /// The path that stands for a category on a cloud, if it has such.
    #[must_use]
    pub fn of(cloud: Cloud, category: Category) -> Option<&'static Self> {
        EXPOSURES.iter().find(|exposure| exposure.cloud == cloud && exposure.category == category)
    }

    /// The category that a request belongs to: that of the longest path in the table which it begins with, or else that of
    /// the directory. None where it is of none.
    #[must_use]
    pub fn category_of(cloud: Cloud, path: &str) -> Option<Category> {
        let without_query = |path: &str| path.split('?').next().unwrap_or_default().trim_end_matches('/').to_owned();
        let asked = without_query(path);
        let same = |exposure: &&Self| {
            let known = without_query(exposure.path);
            asked == known || asked.starts_with(&format!("{known}/"))
        };
        let of_cloud = || EXPOSURES.iter().filter(|exposure| exposure.cloud == cloud);
        let found = of_cloud().filter(same).max_by_key(|exposure| exposure.path.len());
        let beside = || {
            let parent = asked.rsplit_once('/')?.0;
            of_cloud().find(|exposure| without_query(exposure.path).rsplit_once('/').is_some_and(|(p, _)| p == parent))
        };
        found.or_else(beside).map(|exposure| exposure.category)
    }
}

/// The table. The first row of a cloud and a category is the one that stands for it.
pub static EXPOSURES: &[Exposure] = &[
    Exposure::new(Cloud::Aws, Category::Instance, "/latest/meta-data/instance-id"),
    Exposure::new(Cloud::Aws, Category::Configuration, "/latest/meta-data/public-keys/0/openssh-key"),
    Exposure::new(Cloud::Aws, Category::Configuration, "/latest/meta-data/tags/instance/Name"),
    Exposure::new(Cloud::Aws, Category::Credentials, "/latest/meta-data/iam/security-credentials/policyprobe-node"),
    Exposure::new(Cloud::Aws, Category::Network, "/latest/meta-data/network/interfaces/macs/"),
    Exposure::new(Cloud::Aws, Category::Customization, "/latest/user-data"),
    Exposure::new(Cloud::Aws, Category::Security, "/latest/dynamic/instance-identity/document"),
    Exposure::new(Cloud::Gcp, Category::Instance, "/computeMetadata/v1/instance/id"),
    Exposure::new(Cloud::Gcp, Category::Configuration, "/computeMetadata/v1/instance/attributes/ssh-keys"),
    Exposure::new(Cloud::Gcp, Category::Configuration, "/computeMetadata/v1/instance/attributes/startup-script"),
    Exposure::new(Cloud::Gcp, Category::Configuration, "/computeMetadata/v1/instance/attributes/kube-env"),
    Exposure::new(Cloud::Gcp, Category::Credentials, "/computeMetadata/v1/instance/service-accounts/default/token"),
    Exposure::new(Cloud::Gcp, Category::Network, "/computeMetadata/v1/instance/network-interfaces/0/ip"),
    Exposure::new(Cloud::Gcp, Category::Customization, "/computeMetadata/v1/instance/attributes/user-data"),
    Exposure::new(
        Cloud::Gcp,
        Category::Security,
        "/computeMetadata/v1/instance/service-accounts/default/identity?audience=policyprobe&format=full",
    ),
    Exposure::new(Cloud::Gke, Category::Instance, "/computeMetadata/v1/instance/id"),
    Exposure::new(Cloud::Gke, Category::Configuration, "/computeMetadata/v1/instance/attributes/cluster-name"),
    Exposure::new(Cloud::Gke, Category::Credentials, "/computeMetadata/v1/instance/service-accounts/default/token"),
    Exposure::new(
        Cloud::Gke,
        Category::Security,
        "/computeMetadata/v1/instance/service-accounts/default/identity?audience=policyprobe",
    ),
    Exposure::new(
        Cloud::Azure,
        Category::Instance,
        "/metadata/instance/compute/vmId?api-version=2021-02-01&format=text",
    ),
    Exposure::new(
        Cloud::Azure,
        Category::Configuration,
        "/metadata/instance/compute/publicKeys?api-version=2021-02-01",
    ),
    Exposure::new(
        Cloud::Azure,
        Category::Credentials,
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F",
    ),
    Exposure::new(Cloud::Azure, Category::Credentials, "/machine/?comp=goalstate").at(on(WIRESERVER, 80)),
    Exposure::new(Cloud::Azure, Category::Credentials, "/vmSettings").at(on(WIRESERVER, 32_526)),
    Exposure::new(Cloud::Azure, Category::Network, "/metadata/instance/network?api-version=2021-02-01"),
    Exposure::new(
        Cloud::Azure,
        Category::Customization,
        "/metadata/instance/compute/userData?api-version=2021-02-01&format=text",
    ),
    Exposure::new(Cloud::Azure, Category::Security, "/metadata/attested/document?api-version=2021-02-01"),
    Exposure::new(Cloud::Oracle, Category::Instance, "/opc/v2/instance/id"),
    Exposure::new(Cloud::Oracle, Category::Configuration, "/opc/v2/instance/metadata/ssh_authorized_keys"),
    Exposure::new(Cloud::Oracle, Category::Credentials, "/opc/v2/identity/key.pem"),
    Exposure::new(Cloud::Oracle, Category::Network, "/opc/v2/vnics/"),
    Exposure::new(Cloud::Oracle, Category::Customization, "/opc/v2/instance/metadata/user_data"),
    Exposure::new(Cloud::Oracle, Category::Security, "/opc/v2/identity/cert.pem"),
    Exposure::new(Cloud::Alibaba, Category::Instance, "/latest/meta-data/instance-id"),
    Exposure::new(Cloud::Alibaba, Category::Configuration, "/latest/meta-data/public-keys/0/openssh-key"),
    Exposure::new(Cloud::Alibaba, Category::Credentials, "/latest/meta-data/ram/security-credentials/policyprobe-node"),
    Exposure::new(Cloud::Alibaba, Category::Network, "/latest/meta-data/private-ipv4"),
    Exposure::new(Cloud::Alibaba, Category::Customization, "/latest/user-data"),
    Exposure::new(Cloud::Alibaba, Category::Security, "/latest/dynamic/instance-identity/document"),
    Exposure::new(Cloud::Digitalocean, Category::Instance, "/metadata/v1/id"),
    Exposure::new(Cloud::Digitalocean, Category::Configuration, "/metadata/v1/public-keys"),
    Exposure::new(Cloud::Digitalocean, Category::Credentials, "/metadata/v1/auth-token"),
    Exposure::new(Cloud::Digitalocean, Category::Network, "/metadata/v1/interfaces/public/0/ipv4/address"),
    Exposure::new(Cloud::Digitalocean, Category::Customization, "/metadata/v1/user-data"),
    Exposure::new(Cloud::Openstack, Category::Instance, "/latest/meta-data/instance-id"),
    Exposure::new(Cloud::Openstack, Category::Configuration, "/openstack/latest/meta_data.json"),
    Exposure::new(Cloud::Openstack, Category::Network, "/openstack/latest/network_data.json"),
    Exposure::new(Cloud::Openstack, Category::Customization, "/openstack/latest/user_data"),
    Exposure::new(Cloud::Hetzner, Category::Instance, "/hetzner/v1/metadata/instance-id"),
    Exposure::new(Cloud::Hetzner, Category::Configuration, "/hetzner/v1/metadata/public-keys"),
    Exposure::new(Cloud::Hetzner, Category::Network, "/hetzner/v1/metadata/private-networks"),
    Exposure::new(Cloud::Hetzner, Category::Customization, "/hetzner/v1/userdata"),
    Exposure::new(Cloud::Ecs, Category::Instance, "/v2/metadata"),
    Exposure::new(Cloud::Ecs, Category::Credentials, "/v2/credentials/00000000-0000-4000-a000-000000000000"),
    Exposure::new(Cloud::EksPodIdentity, Category::Credentials, "/v1/credentials"),
];

/// The table as Markdown, for the documentation.
#[must_use]
pub fn table() -> String {
    let mut lines = vec!["| cloud | category | where |".to_owned(), "| --- | --- | --- |".to_owned()];
    for Exposure { cloud, category, path, elsewhere } in EXPOSURES {
        let place = elsewhere.map(|place| format!("http://{place}").trim_end_matches(":80").to_owned());
        lines.push(format!(
            "| {} | {} | `{}{path}` |",
            cloud.definition().title,
            category.title(),
            place.unwrap_or_default()
        ));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_table() {
        let table = table();
        assert!(
            include_str!("README.md").contains(&table),
            "src/metadata/README.md is stale; its table must be:\n{table}"
        );
    }
}
