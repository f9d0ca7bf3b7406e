use base64::{
    Engine,
    engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE_NO_PAD},
};

use super::*;

/// Categories whose values would be secrets, or prove who the machine is.
const SECRET: [Category; 3] = [Category::Credentials, Category::Customization, Category::Security];

#[test]
fn every_category_of_every_cloud_is_served_and_secrets_name_their_run() {
    for exposure in EXPOSURES {
        let Exposure { cloud, category, path, .. } = *exposure;
        let server = Asked::new(cloud, &Options::seeded("seed42")).at(exposure.endpoint());
        let endpoint = exposure.endpoint().ip().to_string();
        let mut headers = cloud.definition().headers.to_vec();
        headers.push(("Host", &endpoint));
        let found = server.get(path, &headers);
        assert_eq!(found.status, 200, "{cloud} {path}");
        assert!(!found.body.is_empty(), "{cloud} {path}");
        let words = text(&found);
        let encoded = |part: &str| {
            let decode = |engine: &GeneralPurpose| engine.decode(part).unwrap_or_default();
            [decode(&STANDARD), decode(&URL_SAFE_NO_PAD)]
                .iter()
                .any(|bytes| String::from_utf8_lossy(bytes).contains("FAKE-policyprobe-seed42"))
        };
        let parts = || words.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_-".contains(c));
        // The documents of AWS and Alibaba are public; their signatures are beside them.
        let is_public = matches!(cloud, Cloud::Aws | Cloud::Alibaba) && category == Category::Security;
        if SECRET.contains(&category) && !is_public {
            let names_run = words.contains("FAKE-policyprobe-seed42") || parts().any(encoded);
            assert!(names_run, "{cloud} {path}: {words}");
        }
        assert_eq!(Exposure::category_of(cloud, path), Some(category), "{cloud} {path}");
    }
}

#[test]
fn every_cloud_has_the_categories_that_it_has() {
    for cloud in Cloud::ALL {
        let missing: Vec<_> =
            Category::ALL.into_iter().filter(|category| Exposure::of(*cloud, *category).is_none()).collect();
        let expected: &[Category] = match cloud {
            Cloud::Gke => &[Category::Network, Category::Customization],
            Cloud::Digitalocean => &[Category::Security],
            Cloud::Openstack | Cloud::Hetzner => &[Category::Credentials, Category::Security],
            Cloud::Ecs => &[Category::Configuration, Category::Network, Category::Customization, Category::Security],
            Cloud::EksPodIdentity => &[
                Category::Instance,
                Category::Configuration,
                Category::Network,
                Category::Customization,
                Category::Security,
            ],
            _ => &[],
        };
        assert_eq!(missing, expected, "{cloud}");
    }
}

#[test]
fn paths_beside_those_of_the_table_are_of_their_category() {
    let of = |path: &str| Exposure::category_of(Cloud::Aws, path);
    assert_eq!(of("/latest/meta-data/iam/security-credentials/policyprobe-node?x"), Some(Category::Credentials));
    assert_eq!(of("/latest/meta-data/network/interfaces/macs/0e:00/vpc-id"), Some(Category::Network));
    assert_eq!(of("/latest/meta-data/instance-type"), Some(Category::Instance));
    assert_eq!(of("/nothing/of/the/kind"), None);
}

#[test]
fn the_harmless_path_of_each_cloud_is_there_and_holds_no_secret() {
    for cloud in Cloud::ALL {
        let definition = cloud.definition();
        let server = Asked::new(*cloud, &Options::seeded("seed42"));
        let host = definition.endpoints[0].ip().to_string();
        let headers: Vec<_> = definition.headers.iter().copied().chain([("Host", host.as_str())]).collect();
        let found = server.get(definition.path, &headers);
        assert_eq!(found.status, 200, "{cloud}");
        // The agent of EKS has a single path, and that is a secret's.
        assert_eq!(text(&found).contains("seed42"), *cloud == Cloud::EksPodIdentity, "{cloud}");
    }
}

#[test]
fn no_method_path_or_query_takes_a_server_down() {
    let methods = ["GET", "HEAD", "OPTIONS", "PUT", "POST", "DELETE", "TRACE", "x"];
    let paths =
        ["/", "//", "*", "/..", "/%00?%", "/metadata/instance/compute/~1?format=text", "/latest/", "/?comp=versions"];
    for cloud in Cloud::ALL {
        for options in [
            Options::seeded("s"),
            Options { imds: Imds::V2, legacy: true, ..Options::default() },
            Options { imds: Imds::Disabled, ..Options::default() },
        ] {
            let server = Asked::new(*cloud, &options);
            for (method, path) in methods.iter().flat_map(|method| paths.iter().map(move |path| (method, path))) {
                for headers in [&[][..], cloud.definition().headers] {
                    let status = server.ask(method, path, headers).status;
                    assert!((200..500).contains(&status), "{cloud} {method} {path}: {status}");
                }
            }
        }
    }
}
