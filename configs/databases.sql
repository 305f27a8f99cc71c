-- Read once, by a new PostgreSQL of compose.yaml: Prefect's tables and the reviews' stand in databases of their own.
CREATE DATABASE reviews;
