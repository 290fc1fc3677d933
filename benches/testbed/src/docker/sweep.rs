use std::collections::HashMap;

use testcontainers::bollard::Docker;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;
use tokio::sync::OnceCell;

use crate::machine::process;

/// Carries the process number of the container's owner.
pub(super) const LABEL: &str = "bilten-testbed.owner";

/// Removes, once per process, the containers of processes that are gone.
pub(super) async fn once() {
    static SWEPT: OnceCell<()> = OnceCell::const_new();
    SWEPT
        .get_or_init(|| async {
            if let Ok(docker) = docker_client_instance().await {
                sweep(&docker).await
            }
        })
        .await;
}

async fn sweep(docker: &Docker) {
    let filters = HashMap::from([("label".to_owned(), vec![LABEL.to_owned()])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let Ok(containers) = docker.list_containers(Some(options)).await else {
        return;
    };
    for container in containers {
        let owner = container
            .labels
            .as_ref()
            .and_then(|labels| labels.get(LABEL)?.parse::<u32>().ok());
        if let (Some(id), Some(owner)) = (container.id, owner)
            && !process::is_running(owner)
        {
            let options = RemoveContainerOptionsBuilder::default()
                .force(true)
                .v(true)
                .build();
            // A sweep in another process may have been quicker.
            let _ = docker.remove_container(&id, Some(options)).await;
        }
    }
}
