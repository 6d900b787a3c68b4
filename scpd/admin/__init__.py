"""The admin endpoint: who asks is a person's browser, a metrics server or a load balancer, never a DICOM peer."""
