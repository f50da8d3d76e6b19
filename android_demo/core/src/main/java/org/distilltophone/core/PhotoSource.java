package org.distilltophone.core;

import java.io.IOException;

/** The user's photos, for example from Android's MediaStore. */
public interface PhotoSource {
    /** Receives all photos. */
    interface Visitor {
        /**
         * @param id permanent name of the photo (a content URI or path); not empty, at most 4,000 bytes of UTF-8
         * @param stamp a value that changes with the content, for example made from date and size
         */
        void photo(String id, long stamp);
    }

    /**
     * Lists all photos in any order.
     *
     * @throws IOException the photos cannot be listed now; nothing is then removed from the index
     */
    void list(Visitor visitor) throws IOException;

    /**
     * Reads a photo as pixels of the model: decoded, upright, resized, cropped ({@link Preprocessing#pixels}).
     *
     * @return RGB, row by row; null if the photo no longer exists
     * @throws UndecodableException not an image; it is not tried again until its stamp changes
     * @throws IOException it cannot be read now; the next update tries again
     */
    byte[] pixels(String id) throws IOException, UndecodableException;
}
