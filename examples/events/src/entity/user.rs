//! Who buys tickets.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub name: String,
    #[sea_orm(has_many)]
    pub tickets: HasMany<super::ticket::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
