//! What to do about a metadata server that pods can reach: a policy, and the cloud's own switch.

use std::net::IpAddr;

use super::{Cloud, addresses};

/// What the cloud itself has to keep pods from its server, beside policies.
#[must_use]
pub fn switch(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Aws => {
            "require session tokens and keep them from pods: aws ec2 modify-instance-metadata-options --http-tokens required \
             --http-put-response-hop-limit 1 (eksctl: disablePodIMDS; a pod gets its own role by IRSA or Pod Identity)"
        }
        Cloud::Gcp => {
            "on GKE, give pods their own identity: gcloud container node-pools update POOL --workload-metadata=GKE_METADATA; \
             elsewhere, run nodes as a service account that may do nothing"
        }
        Cloud::Gke => "it gives each pod its own identity: bind those service accounts alone that need one",
        Cloud::Azure => {
            "on AKS: az aks update --enable-imds-restriction (WireServer is closed there on ports 80 and 32526 by AKS itself), \
             and Workload Identity for pods that need one; elsewhere the Metadata Security Protocol"
        }
        Cloud::Oracle => {
            "switch version 1 off (areLegacyImdsEndpointsDisabled), and use workload identity in place of instance principals"
        }
        Cloud::Alibaba => {
            "require session tokens: aliyun ecs ModifyInstanceMetadataOptions --HttpTokens required; on ACK, RRSA for pods"
        }
        Cloud::Digitalocean | Cloud::Openstack | Cloud::Hetzner => {
            "there is no switch: keep secrets out of user data, and use a policy"
        }
        Cloud::Ecs => "a task's credentials are guarded by their path alone: keep the task's environment secret",
        Cloud::EksPodIdentity => {
            "it asks for the pod's own token: associate those service accounts alone that need a role"
        }
    }
}

/// The policies that keep pods from these clouds' servers, and give one label access: YAML, for a namespace.
#[must_use]
pub fn policies(clouds: &[Cloud], namespace: &str, (key, value): (&str, &str)) -> String {
    let blocks = |is_v4: bool| {
        let length = if is_v4 { 32 } else { 128 };
        let own = addresses(clouds).into_iter().filter(move |address| address.is_ipv4() == is_v4);
        own.map(move |address: IpAddr| format!("{address}/{length}")).collect::<Vec<_>>()
    };
    let open = |cidr: &str, excepts: &[String]| {
        let excepts = excepts.iter().flat_map(|block| ["              - ", block, "\n"]).collect::<String>();
        format!("        - ipBlock:\n            cidr: {cidr}\n            except:\n{excepts}")
    };
    let (v4, v6) = (blocks(true), blocks(false));
    let deny = open("0.0.0.0/0", &v4) + &(if v6.is_empty() { String::new() } else { open("\"::/0\"", &v6) });
    let allow = v4.iter().chain(&v6).map(|block| format!("        - ipBlock:\n            cidr: {block}\n"));
    let head = |name: &str, selector: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
             spec:\n  podSelector: {selector}\n  policyTypes:\n    - Egress\n  egress:\n    - to:\n"
        )
    };
    format!(
        "{}{deny}---\n{}{}",
        head("cloud-metadata-deny", "{}"),
        head("cloud-metadata-allow", &format!("\n    matchLabels:\n      {key}: {value}")),
        allow.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_the_clouds_is_in_both_policies() {
        let text = policies(&[Cloud::Aws, Cloud::Azure], "team", ("role", "metadata-accessor"));
        for address in ["169.254.169.254/32", "168.63.129.16/32", "fd00:ec2::254/128"] {
            assert_eq!(text.matches(address).count(), 2, "{address} in {text}");
        }
        assert_eq!(text.matches("namespace: team").count(), 2);
        assert!(text.contains("      role: metadata-accessor\n"));
        assert!(!policies(&[Cloud::Hetzner], "default", ("a", "b")).contains("::"));
    }

    #[test]
    fn every_cloud_has_advice() {
        assert!(Cloud::ALL.iter().all(|cloud| !switch(*cloud).is_empty()));
    }
}
