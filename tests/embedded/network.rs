//! Without policies everybody reaches everything, and each server is who it should be.

use std::{collections::BTreeSet, time::Instant};

use policyprobe::{
    lab::{Lab, ServerId, Source, Stage, embedded::DenyBy},
    probe::{Outcome, Request, Target},
    scenario::{Family, NodeName},
};
use serde_json::json;

use crate::common::*;

#[tokio::test]
async fn everybody_reaches_everything() {
    let Some((lab, stage)) = stage().await else { return };
    let sources = [pod("app1"), pod("app2"), pod("app3"), node(NodeName::Master), node(NodeName::Worker)];
    for source in sources.iter().chain(&[Source::Outside("internet".to_owned())]) {
        for to in ["app1", "app2", "app3", "metadata", "internet"] {
            assert_eq!(outcome(&stage, source, to).await, Outcome::Reached, "{source:?} to {to}");
        }
        for to in ["master", "worker"] {
            assert_eq!(outcome_on(&stage, source, to, 9999).await, Outcome::Reached, "{source:?} to {to}");
        }
    }
    assert!(lab.teardown().await.is_empty());
}

#[tokio::test]
async fn a_server_remembers_what_it_was_asked() {
    let Some((_lab, stage)) = stage().await else { return };
    let request = request(&address(&stage, "metadata"), 80, IMAGE, &identity(&stage, "metadata"), 1000);
    let nonces = BTreeSet::from([request.nonce.clone()]);
    assert_eq!(stage.seen(&ServerId::Metadata, &nonces).await.unwrap(), BTreeSet::new());
    let observation = probe(&stage, &pod("app1"), &request).await;
    assert_eq!((observation.outcome, observation.status), (Outcome::Reached, Some(200)), "{observation:?}");
    assert_eq!(stage.seen(&ServerId::Metadata, &nonces).await.unwrap(), nonces);
    let Source::Pod(namespace, name) = pod("app1") else { unreachable!() };
    assert_eq!(stage.seen(&ServerId::Pod(namespace, name), &nonces).await.unwrap(), BTreeSet::new());
}

#[tokio::test]
async fn names_are_resolved_by_the_labs_dns_alone() {
    let Some((_lab, stage)) = stage().await else { return };
    stage.dns_ready().await.unwrap();
    let by_name = request("metadata.google.internal", 80, IMAGE, &identity(&stage, "metadata"), 3000);
    let observation = probe(&stage, &pod("app1"), &by_name).await;
    assert_eq!(observation.outcome, Outcome::Reached, "{observation:?}");
    for (name, expected) in [("kubernetes.default", Outcome::Reached), ("no.such.name", Outcome::NameNotResolved)] {
        let target = Target::Resolve { name: name.to_owned(), family: Family::Ipv4 };
        let request = Request { target, ..by_name.clone() };
        assert_eq!(probe(&stage, &pod("app1"), &request).await.outcome, expected, "{name}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_refused_or_unreachable() {
    let Some((_lab, stage)) = stage().await else { return };
    let closed = request(&address(&stage, "app2"), 81, "/", "nobody", 1000);
    assert_eq!(probe(&stage, &pod("app1"), &closed).await.outcome, Outcome::Refused);
    for gone in ["10.245.200.1", "10.244.200.1", "169.254.169.253", "168.63.129.16", "8.8.8.8"] {
        let request = request(gone, 80, "/", "nobody", 1000);
        assert_eq!(probe(&stage, &pod("app1"), &request).await.outcome, Outcome::Unreachable, "{gone}");
    }
}

#[tokio::test]
async fn without_a_metadata_server_its_address_is_unreachable() {
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    let spec = serde_json::from_value(json!({"pods": [{"name": "app1"}]})).unwrap();
    let stage = lab.open_stage(&spec).await.unwrap();
    assert!(stage.world().metadata.is_none());
    let request = request("169.254.169.254", 80, "/.policyprobe/identity", "nobody", 1000);
    for source in [pod("app1"), node(NodeName::Master)] {
        let observation = probe(&stage, &source, &request).await;
        assert!(matches!(observation.outcome, Outcome::Unreachable | Outcome::Refused), "{source:?}: {observation:?}");
    }
}

#[tokio::test]
async fn stages_do_not_see_each_other() {
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    let spec = spec();
    let (one, two, three) =
        tokio::try_join!(lab.open_stage(&spec), lab.open_stage(&spec), lab.open_stage(&spec)).unwrap();
    one.apply(&deny_metadata()).await.unwrap();
    assert_eq!(outcome(&one, &pod("app1"), "metadata").await, Outcome::TimedOut);
    drop(three);
    assert_eq!(outcome(&two, &pod("app1"), "metadata").await, Outcome::Reached);
    assert_eq!(outcome(&one, &pod("app1"), "app2").await, Outcome::Reached);
}

#[tokio::test]
async fn a_pod_that_is_created_again_has_another_address() {
    let Some((_lab, stage)) = stage().await else { return };
    let before = address(&stage, "app2");
    stage.recreate("default", "app2").await.unwrap();
    assert_ne!(address(&stage, "app2"), before);
    assert_eq!(outcome(&stage, &pod("app1"), "app2").await, Outcome::Reached);
    let old = request(&before, 80, "/", "nobody", 1000);
    assert_eq!(probe(&stage, &pod("app1"), &old).await.outcome, Outcome::Unreachable);
}

#[tokio::test]
async fn a_lossy_link_is_slow_and_not_broken() {
    let Some((_lab, stage)) = stage().await else { return };
    stage.impair_loss(&pod("app1"), 100).await.unwrap();
    assert_eq!(outcome(&stage, &pod("app1"), "app2").await, Outcome::TimedOut);
    assert_eq!(outcome(&stage, &pod("app2"), "metadata").await, Outcome::Reached, "only that pod's link");
    stage.impair_loss(&pod("app1"), 0).await.unwrap();
    assert_eq!(outcome(&stage, &pod("app1"), "app2").await, Outcome::Reached);
}

/// Prints where the time goes; nothing is asserted about it.
#[tokio::test]
async fn timings() {
    let start = Instant::now();
    let Some(lab) = lab(DenyBy::Drop).await else { return };
    println!("inner half ready   {:?}", start.elapsed());
    for _ in 0..3 {
        let (start, stage) = (Instant::now(), lab.open_stage(&spec()).await.unwrap());
        println!("stage              {:?}", start.elapsed());
        let start = Instant::now();
        stage.apply(&deny_metadata()).await.unwrap();
        println!("apply              {:?}", start.elapsed());
        let start = Instant::now();
        assert_eq!(outcome(&stage, &pod("app1"), "app2").await, Outcome::Reached);
        println!("one curl           {:?}", start.elapsed());
    }
    println!("{}", lab.diagnose().await);
}
