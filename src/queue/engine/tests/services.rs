//! Services by the original's rules.

use super::*;
use crate::protocol::api::{DeployService, ReportService, ServiceStatus};
use crate::queue::ServiceReported;

#[tokio::test]
async fn a_service_goes_to_as_many_hosts_as_it_has_replicas() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, clock) = open(dir.path());
    let ask = DeployService {
        name: "api".to_owned(),
        command: "node".to_owned(),
        ..DeployService::default()
    };
    let (first, _) = queue
        .deploy_service("svc_1".to_owned(), ask.clone(), "n".to_owned(), None)
        .await
        .unwrap();
    assert_eq!(first.required_capabilities, ["service-host"]);
    let able = vec!["service-host".to_owned()];
    let claim = async |host: &str, able: &[String]| {
        let host = HostId::new(host).unwrap();
        let claimed = queue
            .claim_service(host, able.to_vec(), "n".to_owned())
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
    let tell = |host: &str| queue.report_service("svc_1".to_owned(), report(host), "n".to_owned());
    assert_eq!(tell("b").await.unwrap(), ServiceReported::NotAssigned);
    let started = clock.now();
    clock.advance(LEASE);
    tell("a").await.unwrap();
    let ServiceReported::Noted(service) = tell("a").await.unwrap() else {
        panic!("it was assigned");
    };
    assert_eq!(service.status, ServiceStatus::Running);
    assert_eq!(service.assignments[0].started_at, Some(started.plus(LEASE)));
    // Asked for anew under its id: the same age, no assignments.
    let (again, _) = queue
        .deploy_service("svc_1".to_owned(), ask, "n".to_owned(), None)
        .await
        .unwrap();
    assert_eq!((again.created_at, again.assignments.len()), (started, 0));
    assert!(again.version > service.version);
    assert_eq!(queue.services().await.unwrap(), [again]);
}
