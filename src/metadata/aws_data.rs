//! What AWS' emulated server says about its machine: the real tree's names, with values that are right in form and visibly
//! made up. Account and addresses are those of AWS' documentation and of the ranges for documentation.

use super::{
    clock::{iso8601, unix_time},
    fake::{fake, letters, signature, ssh_key},
    text_tree::Node,
};

/// The versions of the API that are documented; each has the same tree here.
pub(super) const VERSIONS: &[&str] = &[
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-09-24",
    "2021-03-23",
    "latest",
];

/// The instance's role.
pub(super) const ROLE: &str = "policyprobe-node";

const ACCOUNT: &str = "111122223333";
const MAC: &str = "0e:49:61:0f:c3:11";
const INSTANCE: &str = "i-0123456789abcdef0";
const REGION: &str = "us-east-1";
const ZONE: &str = "us-east-1a";
const PRIVATE: &str = "10.0.0.10";
const PUBLIC: &str = "203.0.113.25";
const HOST: &str = "ip-10-0-0-10.ec2.internal";
const PUBLIC_HOST: &str = "ec2-203-0-113-25.compute-1.amazonaws.com";
const V6: &str = "2001:db8:8:4::2";

/// How long credentials are good for, in seconds.
const LIFETIME: u64 = 6 * 3600;

const PLAIN: &[(&str, &str)] = &[
    ("ami-id", "ami-0123456789abcdef0"),
    ("ami-launch-index", "0"),
    ("ami-manifest-path", "(unknown)"),
    ("autoscaling/target-lifecycle-state", "InService"),
    ("block-device-mapping/ami", "/dev/xvda"),
    ("block-device-mapping/root", "/dev/xvda"),
    ("events/maintenance/history", "[]"),
    ("events/maintenance/scheduled", "[]"),
    ("hostname", HOST),
    ("instance-action", "none"),
    ("instance-id", INSTANCE),
    ("instance-life-cycle", "on-demand"),
    ("instance-type", "t3.medium"),
    ("ipv6", V6),
    ("local-hostname", HOST),
    ("local-ipv4", PRIVATE),
    ("mac", MAC),
    ("metrics/vhostmd", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"),
    ("placement/availability-zone", ZONE),
    ("placement/availability-zone-id", "use1-az4"),
    ("placement/region", REGION),
    ("profile", "default-hvm"),
    ("public-hostname", PUBLIC_HOST),
    ("public-ipv4", PUBLIC),
    ("reservation-id", "r-0123456789abcdef0"),
    ("security-groups", "policyprobe-nodes"),
    ("services/domain", "amazonaws.com"),
    ("services/partition", "aws"),
    ("system", "nitro"),
];

const TAGS: &[(&str, &str)] = &[("Name", "policyprobe-node"), ("kubernetes.io_cluster_policyprobe", "owned")];

const INTERFACE: &[(&str, &str)] = &[
    ("device-number", "0"),
    ("interface-id", "eni-0123456789abcdef0"),
    ("ipv4-associations/203.0.113.25", PRIVATE),
    ("ipv6s", V6),
    ("local-hostname", HOST),
    ("local-ipv4s", PRIVATE),
    ("mac", MAC),
    ("network-card-index", "0"),
    ("owner-id", ACCOUNT),
    ("public-hostname", PUBLIC_HOST),
    ("public-ipv4s", PUBLIC),
    ("security-group-ids", "sg-0123456789abcdef0"),
    ("security-groups", "policyprobe-nodes"),
    ("subnet-id", "subnet-0123456789abcdef0"),
    ("subnet-ipv4-cidr-block", "10.0.0.0/24"),
    ("subnet-ipv6-cidr-blocks", "2001:db8:8:4::/64"),
    ("vpc-id", "vpc-0123456789abcdef0"),
    ("vpc-ipv4-cidr-block", "10.0.0.0/16"),
    ("vpc-ipv4-cidr-blocks", "10.0.0.0/16"),
    ("vpc-ipv6-cidr-blocks", "2001:db8:8::/56"),
];

/// What is below each version, without what a bare instance is not given. The seed is in every value that would be a secret
/// on a real server.
pub(super) fn tree(seed: &str, is_bare: bool) -> Node {
    let mut tree = Node::default();
    for (path, value) in PLAIN {
        tree.set(&format!("meta-data/{path}"), (*value).to_owned());
    }
    for (path, value) in INTERFACE {
        tree.set(&format!("meta-data/network/interfaces/macs/{MAC}/{path}"), (*value).to_owned());
    }
    // There is a notice only while a Spot instance is about to be taken back.
    for name in ["events/recommendations", "spot"] {
        tree.place(&format!("meta-data/{name}"));
        tree.hide(&format!("meta-data/{name}"));
    }
    identity(&mut tree, seed);
    if !is_bare {
        given(&mut tree, seed);
    }
    for name in ["pkcs7", "rsa2048", "signature"] {
        tree.set(&format!("dynamic/instance-identity/{name}"), signature(name, seed));
    }
    let pending = iso8601(unix_time());
    tree.set("dynamic/instance-identity/document", document(&pending));
    tree.set("dynamic/fws/instance-monitoring", "disabled".to_owned());
    for name in ["dynamic", "meta-data"] {
        tree.label(name, name);
    }
    tree
}

/// What an instance has only from its owner.
fn given(tree: &mut Node, seed: &str) {
    for (name, value) in TAGS {
        tree.set(&format!("meta-data/tags/instance/{name}"), (*value).to_owned());
    }
    tree.set("meta-data/public-keys/0/openssh-key", format!("{}\n", ssh_key(seed)));
    tree.label("meta-data/public-keys/0", "0=policyprobe");
    tree.set("user-data", format!("#!/bin/sh\nexport DATABASE_PASSWORD={}\n", fake(seed)));
    let updated = iso8601(unix_time());
    let info = format!(
        "{{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"{updated}\",\n  \"InstanceProfileArn\" : \
         \"arn:aws:iam::{ACCOUNT}:instance-profile/{ROLE}\",\n  \"InstanceProfileId\" : \"AIPA{}\"\n}}",
        letters(seed, "profile", 17)
    );
    tree.set("meta-data/iam/info", info);
    credentials(tree, &format!("meta-data/iam/security-credentials/{ROLE}"), Keys::new(seed, "role"));
}

/// What every instance has, by which AWS' own agents know it.
fn identity(tree: &mut Node, seed: &str) {
    let updated = iso8601(unix_time());
    let account = format!(
        "{{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"{updated}\",\n  \"AccountId\" : \"{ACCOUNT}\"\n}}"
    );
    tree.set("meta-data/identity-credentials/ec2/info", account);
    let path = "meta-data/identity-credentials/ec2/security-credentials/ec2-instance";
    credentials(tree, path, Keys::new(seed, "identity"));
}

fn credentials(tree: &mut Node, path: &str, keys: Keys) {
    tree.make(path, move |now| {
        let (updated, expiration) = (iso8601(now), iso8601(now + LIFETIME));
        let Keys { id, secret, token } = &keys;
        format!(
            "{{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"{updated}\",\n  \"Type\" : \"AWS-HMAC\",\n  \
             \"AccessKeyId\" : \"{id}\",\n  \"SecretAccessKey\" : \"{secret}\",\n  \"Token\" : \"{token}\",\n  \
             \"Expiration\" : \"{expiration}\"\n}}"
        )
    });
}

/// A set of temporary credentials, which no service would take.
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: String,
}

impl Keys {
    pub(super) fn new(seed: &str, what: &str) -> Self {
        Self {
            id: format!("ASIAFAKE{}", letters(seed, what, 12)),
            // As long as a real one, unless the seed is longer.
            secret: format!("{:/<40}", fake(seed)),
            token: format!("IQoJb3JpZ2luX2Vj-{}", fake(seed)),
        }
    }
}

fn document(pending: &str) -> String {
    format!(
        r#"{{
  "accountId" : "{ACCOUNT}",
  "architecture" : "x86_64",
  "availabilityZone" : "{ZONE}",
  "billingProducts" : null,
  "devpayProductCodes" : null,
  "imageId" : "ami-0123456789abcdef0",
  "instanceId" : "{INSTANCE}",
  "instanceType" : "t3.medium",
  "kernelId" : null,
  "marketplaceProductCodes" : null,
  "pendingTime" : "{pending}",
  "privateIp" : "{PRIVATE}",
  "ramdiskId" : null,
  "region" : "{REGION}",
  "version" : "2017-09-30"
}}"#
    )
}
