"""S3: a multipart upload becomes the object."""
