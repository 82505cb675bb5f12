"""Who answers for a Service: EndpointSlices, the older Endpoints, and the mirror between them.

services.py finds pods for services and back; endpoint_slices.py and subsets.py say what should exist; packing.py says
with the fewest writes; the controllers write it.
"""

from clew.cluster.controllers.endpoints.mirror_controller import EndpointSliceMirroringController
from clew.cluster.controllers.endpoints.slice_controller import EndpointSliceController
from clew.cluster.controllers.endpoints.subset_controller import EndpointsController

__all__ = ["EndpointSliceController", "EndpointSliceMirroringController", "EndpointsController"]
