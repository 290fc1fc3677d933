//! One connection that is many: writes go to the primary, reads to the replicas, pages come counted.
//!
//! Here a SQLite file with one writer and four readers; with PostgreSQL, `.primary(url).replica("r1", url)`.

#![allow(clippy::print_stdout)]

use bilten_db::sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryOrder, Schema};
use bilten_db::{Cluster, PageExt, PageRequest};

#[allow(unreachable_pub)]
mod event {
    use bilten_db::sea_orm::{self, entity::prelude::*};

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, serde::Serialize)]
    #[sea_orm(table_name = "events")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub title: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.db");
    let db = Cluster::builder().sqlite(file).readers(4).connect().await?;

    let table = Schema::new(db.get_database_backend()).create_table_from_entity(event::Entity);
    db.execute(&table).await?; // the writer
    let titles = ["Opera", "Jazz Night", "Poetry Slam"].map(String::from);
    let rows = titles.map(|title| event::ActiveModel {
        title: Set(title),
        ..Default::default()
    });
    event::Entity::insert_many(rows).exec(&db).await?; // the writer

    // Rows and count at once, both from the same reader.
    let events = event::Entity::find().order_by_asc(event::Column::Title);
    let page = events.clone().page(&db, PageRequest::new(1, 2)).await?;
    println!("{}", serde_json::to_string_pretty(&page)?);

    let impossible = events.page(&db, PageRequest::new(0, 2)).await;
    println!("page 0: {}", impossible.expect_err("pages count from 1"));

    for node in db.status().nodes {
        println!("{} is {:?}, {:?}", node.id, node.role, node.state);
    }
    db.close().await;
    Ok(())
}
