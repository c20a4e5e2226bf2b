"""What the report and the preview share: frames as pictures for a browser, the looks of a page, its slider."""
