//! The same through the client of this library, and through doors other than the port.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use skyclaw::client::{Client, ServiceLogQuery, Settings, parse_url};
use skyclaw::protocol::HostId;
use skyclaw::protocol::api::{
    AssignmentReport, ChangeService, DeployService, Event, Gateway, Phase, ServiceOutput,
    ServiceStatus, SyncServices,
};

use super::script::{deploy, show};
use crate::guest::host;
use crate::harness::Room;

fn client(room: &Room) -> Client {
    Client::new(Settings::new(vec![parse_url(&room.base).unwrap()])).unwrap()
}

fn report(id: &str, phase: Phase) -> AssignmentReport {
    AssignmentReport {
        assignment_id: id.to_owned(),
        phase,
        port: Some(3100),
        endpoint: None,
        error: None,
        last_output: None,
        restarts: 0,
    }
}

#[tokio::test]
async fn a_service_from_its_deploy_to_its_end() {
    let room = Room::open().await;
    let client = client(&room);
    let mut events = client
        .events_only(&["service-changed"], None)
        .await
        .unwrap();
    room.host("a", &["service-host"]).await;
    let id = HostId::new("a").unwrap();
    client
        .sync_services(&id, &SyncServices::default())
        .await
        .unwrap();
    let ask = DeployService {
        name: "api".to_owned(),
        command: "x".to_owned(),
        ..DeployService::default()
    };
    let service = client.deploy_service(&ask).await.unwrap();
    let event = events.next().await.unwrap().event;
    assert!(
        matches!(&event, Event::ServiceChanged { service_id, name, .. }
            if *service_id == service.id && name == "api"),
        "{event:?}"
    );
    let mut sync = SyncServices {
        wait_ms: Some(5000),
        ..SyncServices::default()
    };
    let asg = loop {
        let answer = client.sync_services(&id, &sync).await.unwrap();
        sync.seen = Some(answer.version);
        if let Some(one) = answer.assignments.first() {
            break one.assignment_id.clone();
        }
    };
    sync.assignments = vec![report(&asg, Phase::Ready)];
    client.sync_services(&id, &sync).await.unwrap();
    let found = client.service(&service.id).await.unwrap();
    assert_eq!(found.status, ServiceStatus::Running);
    let query = ServiceLogQuery {
        tail: Some(5),
        replica: Some("a".to_owned()),
        ..ServiceLogQuery::default()
    };
    let mut logs = client.service_logs(&service.id, &query).await.unwrap();
    let request = loop {
        let answer = client.sync_services(&id, &sync).await.unwrap();
        sync.seen = Some(answer.version);
        if let Some(logs) = answer.assignments[0].logs {
            assert_eq!((logs.tail, logs.follow), (5, false));
            break logs.request;
        }
    };
    let output = ServiceOutput {
        assignment_id: asg.clone(),
        request,
        data: STANDARD.encode("hello\n"),
        end: true,
    };
    assert!(!client.send_service_output(&id, &output).await.unwrap());
    let piece = logs.next().await.unwrap().unwrap();
    assert_eq!(piece.data, Some(STANDARD.encode("hello\n")));
    assert_eq!((piece.host_id, piece.assignment_id), (id.clone(), asg));
    let end = logs.next().await.unwrap().unwrap();
    assert_eq!((end.data, end.error), (None, None));
    assert!(logs.next().await.unwrap().is_none());
    let stopped = client
        .change_service(&service.id, &ChangeService::Stop)
        .await
        .unwrap();
    assert!(stopped.stopped);
    room.stop().await;
}

#[tokio::test]
async fn a_gateway_says_where_it_is_and_is_found() {
    let room = Room::open().await;
    let client = client(&room);
    let gateway = Gateway {
        id: "g".to_owned(),
        url: "http://g.example:8790".to_owned(),
        name: None,
    };
    let known = client.register_gateway(&gateway).await.unwrap();
    assert_eq!(known, [gateway]);
    assert_eq!(client.gateways().await.unwrap(), known);
    room.stop().await;
}

#[tokio::test]
async fn through_a_tunnel_a_service_runs_and_says_why_it_is_not_reached() {
    let room = Room::open().await;
    room.host("a", &["service-host"]).await;
    let tunnel = room.guest(&host("a"));
    let path = "/v1/hosts/a/services/sync";
    tunnel.post(path, &json!({})).await.ok();
    let id = deploy(&room, json!({"name": "api", "command": "x"})).await;
    let mut asg = String::new();
    room.until(async |_| {
        let answer = tunnel.post(path, &json!({})).await.ok();
        let first = &answer["assignments"][0]["assignmentId"];
        asg = first.as_str().unwrap_or_default().to_owned();
        !asg.is_empty()
    })
    .await;
    let ready = |endpoint: Option<&str>| {
        let mut report = json!({"assignmentId": asg, "phase": "ready", "port": 3100});
        if let Some(endpoint) = endpoint {
            report["endpoint"] = endpoint.into();
        }
        json!({"assignments": [report]})
    };
    tunnel.post(path, &ready(None)).await.ok();
    let service = show(&room, &id).await;
    let one = &service["assignments"][0];
    assert_eq!(one["phase"], "ready");
    assert!(one.get("endpoint").is_none(), "{one}");
    let error = one["error"].as_str().unwrap();
    assert!(error.starts_with("not reachable"), "{error}");
    // One that the host gives is its own to answer for.
    tunnel
        .post(path, &ready(Some("http://a.example:80")))
        .await
        .ok();
    let service = show(&room, &id).await;
    assert_eq!(service["assignments"][0]["endpoint"], "http://a.example:80");
    assert!(service["assignments"][0].get("error").is_none());
    // On this machine itself the port is on loopback.
    let owner = room.owner();
    owner.post(path, &ready(None)).await.ok();
    let service = show(&room, &id).await;
    assert_eq!(
        service["assignments"][0]["endpoint"],
        "http://127.0.0.1:3100"
    );
    room.stop().await;
}

#[tokio::test]
async fn keys_of_the_public_api_open_nothing_of_services() {
    use skyclaw::coordinator::{Keys, Tokens};
    let room = Room::with(|settings| {
        settings.keys = Keys::parse("k:label:shell").unwrap();
        settings.tokens = Tokens::parse("secret");
    })
    .await;
    for (method, path) in [
        ("GET", "/v1/services"),
        ("GET", "/v1/services/x"),
        ("GET", "/v1/services/x/logs"),
        ("POST", "/v1/services"),
        ("POST", "/v1/services/x/change"),
        ("POST", "/v1/hosts/a/services/sync"),
        ("POST", "/v1/hosts/a/services/logs"),
        ("GET", "/v1/gateways"),
        ("POST", "/v1/gateways"),
        ("GET", "/v1/events?only=service-changed"),
    ] {
        let request = room.request(method.parse().unwrap(), path);
        let got = room.send(request.header("x-api-key", "k")).await;
        // After some wrong ones in a row it is told to wait.
        assert!(matches!(got.status.as_u16(), 401 | 429), "{}", got.body);
    }
    for path in ["/v1/public/services", "/v1/public/jobs/../../services"] {
        let request = room.request("GET".parse().unwrap(), path);
        let got = room.send(request.header("x-api-key", "k")).await;
        assert_ne!(got.status, 200, "{path}: {}", got.body);
    }
    room.stop().await;
}
