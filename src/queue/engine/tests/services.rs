//! Services on a real file: asked for, placed, told of, changed, removed.

use super::*;
use crate::protocol::api::{
    AssignmentReport, ChangeService, DeployService, Phase, ReportService, ServiceRecord,
    ServiceStatus,
};
use crate::queue::{Idempotency, ServiceChanged, ServiceHost, ServiceReported};

const NODE: &str = "n";

fn ask(command: &str, replicas: u32) -> DeployService {
    DeployService {
        name: "api".to_owned(),
        command: command.to_owned(),
        by_name: true,
        replicas: Some(replicas),
        ..DeployService::default()
    }
}

async fn deploy(queue: &Queue, id: &str, ask: DeployService) -> ServiceRecord {
    let done = queue.deploy_service(id.to_owned(), ask, NODE.to_owned(), None);
    done.await.unwrap().0
}

async fn change(queue: &Queue, id: &str, change: ChangeService) -> ServiceChanged {
    let done = queue.change_service(id.to_owned(), change, NODE.to_owned(), None);
    done.await.unwrap().0
}

fn hosts(names: &[&str]) -> Vec<ServiceHost> {
    let host = |name: &&str| ServiceHost {
        id: HostId::new(*name).unwrap(),
        capabilities: vec!["service-host".to_owned()],
        alive: true,
        takes_new: true,
        syncs: true,
        leaving: false,
        heard_out: true,
    };
    names.iter().map(host).collect()
}

async fn place(queue: &Queue, names: &[&str]) -> Vec<ServiceRecord> {
    let done = queue.place_services(hosts(names), NODE.to_owned());
    done.await.unwrap()
}

/// The host says `phase` of all that it should have.
async fn say(queue: &Queue, host: &str, phase: Phase) -> Vec<ServiceRecord> {
    let host = HostId::new(host).unwrap();
    let all = queue.services().await.unwrap();
    let reports = crate::queue::domain::service::wanted(&all, &host)
        .into_iter()
        .map(|one| AssignmentReport {
            assignment_id: one.assignment_id,
            phase,
            port: Some(3100),
            endpoint: Some(format!("http://{host}:3100")),
            error: None,
            last_output: None,
            restarts: 0,
        })
        .collect();
    let done = queue.sync_services(host, reports, NODE.to_owned());
    done.await.unwrap()
}

fn phases(service: &ServiceRecord) -> Vec<(&str, u64, Phase)> {
    let all = service.assignments.iter();
    let mut all: Vec<_> = all
        .map(|one| (one.host_id.as_str(), one.generation, one.phase.unwrap()))
        .collect();
    all.sort_by_key(|one| (one.0, one.1));
    all
}

#[tokio::test]
async fn a_service_is_placed_updated_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    deploy(&queue, "svc_1", ask("old", 2)).await;
    let placed = place(&queue, &["a", "b", "c"]).await;
    assert_eq!(
        phases(&placed[0]),
        [("a", 1, Phase::Assigned), ("b", 1, Phase::Assigned)]
    );
    assert_eq!(place(&queue, &["a", "b", "c"]).await, [], "it is placed");
    clock.advance(LEASE);
    let ready = say(&queue, "a", Phase::Ready).await;
    let mine = &ready[0].assignments[0];
    assert_eq!(mine.started_at, Some(clock.now()));
    assert_eq!(mine.endpoint.as_deref(), Some("http://a:3100"));
    assert_eq!(ready[0].status, ServiceStatus::Running);
    assert_eq!(say(&queue, "a", Phase::Ready).await, [], "no news");
    say(&queue, "b", Phase::Ready).await;
    place(&queue, &["a", "b", "c"]).await;
    check(dir.path());
    // By name: the same service in another form, one after the other.
    let again = deploy(&queue, "svc_2", ask("new", 2)).await;
    assert_eq!((again.id.as_str(), again.generation), ("svc_1", 2));
    for round in ["c", "a"] {
        place(&queue, &["a", "b", "c"]).await;
        say(&queue, round, Phase::Ready).await;
        place(&queue, &["a", "b", "c"]).await;
        for host in ["a", "b"] {
            let draining = queue.services().await.unwrap();
            let to_end = draining[0]
                .assignments
                .iter()
                .any(|one| one.phase == Some(Phase::Draining) && one.host_id.as_str() == host);
            if to_end {
                say(&queue, host, Phase::Stopped).await;
            }
        }
        check(dir.path());
    }
    assert_eq!(
        change(&queue, "svc_9", ChangeService::Stop).await,
        ServiceChanged::Unknown
    );
    let ServiceChanged::Changed(going) = change(&queue, "svc_1", ChangeService::Remove).await
    else {
        panic!("it is there");
    };
    assert!(going.removing);
    place(&queue, &["a", "b", "c"]).await;
    for host in ["a", "b", "c"] {
        say(&queue, host, Phase::Stopped).await;
    }
    assert_eq!(queue.services().await.unwrap(), [], "it is forgotten");
    check(dir.path());
}

#[tokio::test]
async fn a_change_is_made_once_under_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    deploy(&queue, "svc_1", ask("run", 1)).await;
    let key = Idempotency {
        key: "k".into(),
        body_hash: [0; 32],
        expires_at: clock.now().plus(LEASE),
    };
    let restart = async || {
        let (id, node) = ("svc_1".to_owned(), NODE.to_owned());
        let done = queue.change_service(id, ChangeService::Restart, node, Some(key.clone()));
        done.await.unwrap()
    };
    let (first, replayed) = restart().await;
    assert!(!replayed);
    assert_eq!(restart().await, (first, true));
    let now = queue.service("svc_1".to_owned()).await.unwrap().unwrap();
    assert_eq!(now.generation, 2);
}

#[tokio::test]
async fn hosts_of_the_original_claim_and_report() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let first = deploy(&queue, "svc_1", ask("node", 1)).await;
    assert_eq!(first.required_capabilities, ["service-host"]);
    let able = vec!["service-host".to_owned()];
    let claim = async |host: &str, able: &[String]| {
        let host = HostId::new(host).unwrap();
        let claimed = queue
            .claim_service(host, able.to_vec(), NODE.to_owned())
            .await;
        claimed.unwrap().map(|service| service.version)
    };
    assert_eq!(claim("a", &[]).await, None);
    assert_eq!(claim("a", &able).await, Some(2));
    assert_eq!(claim("a", &able).await, Some(2), "it has it already");
    assert_eq!(claim("b", &able).await, None, "one replica only");
    let report = |host: &str| ReportService {
        host_id: HostId::new(host).unwrap(),
        status: ServiceStatus::Running,
        endpoint: Some("http://127.0.0.1:3100".to_owned()),
        error: None,
    };
    let tell = |host: &str| queue.report_service("svc_1".to_owned(), report(host), NODE.to_owned());
    assert_eq!(tell("b").await.unwrap(), ServiceReported::NotAssigned);
    let started = clock.now();
    clock.advance(LEASE);
    tell("a").await.unwrap();
    let ServiceReported::Noted(service) = tell("a").await.unwrap() else {
        panic!("it was assigned");
    };
    assert_eq!(service.status, ServiceStatus::Running);
    assert_eq!(service.assignments[0].started_at, Some(started.plus(LEASE)));
    // The same again changes nothing; another form has to be claimed anew.
    let same = deploy(&queue, "svc_1", ask("node", 1)).await;
    assert_eq!(same, *service);
    let other = deploy(&queue, "svc_1", ask("deno", 1)).await;
    assert_eq!((other.created_at, other.generation), (started, 2));
    assert_eq!(claim("a", &able).await, Some(other.version + 1));
    assert!(matches!(
        tell("a").await.unwrap(),
        ServiceReported::Noted(_)
    ));
    check(dir.path());
}
