"""Running a job: files that are whole, folders of one run, provenance, workers, reports."""
