use crate::checks::saturation::Load;
use sea_orm::{DatabaseConnection, DatabaseConnectionType};

pub(super) fn load(connection: &DatabaseConnection) -> Option<Load> {
    if !matches!(
        connection.inner,
        DatabaseConnectionType::SqlxMySqlPoolConnection(_)
    ) {
        return None;
    }
    let pool = connection.get_mysql_connection_pool();
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    Some(Load {
        size: pool.size(),
        idle,
        max: pool.options().get_max_connections(),
    })
}
