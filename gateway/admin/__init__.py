"""The admin API for administrators, under `/admin` or on a separate port."""
