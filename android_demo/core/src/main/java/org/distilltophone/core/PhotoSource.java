package org.distilltophone.core;

import java.io.IOException;

/** The photos of the user: Android's MediaStore, or a folder. */
public interface PhotoSource {
    /** Is told of every photo that there is. */
    interface Visitor {
        /**
         * @param id names the photo for as long as it exists (a content URI or path); not empty, at most 4,000 bytes of UTF-8
         * @param stamp changes when the content changes (date and size, say)
         */
        void photo(String id, long stamp);
    }

    /**
     * Goes through all photos, in any order.
     *
     * @throws IOException the list cannot be had now: nothing is deleted from the index then
     */
    void list(Visitor visitor) throws IOException;

    /**
     * A photo as the model's pixels: decoded, upright, resized, cropped ({@link Preprocessing#pixels}).
     *
     * @return RGB, row by row; null if the photo is gone
     * @throws UndecodableException no picture: remembered, and not tried again until its stamp changes
     * @throws IOException it cannot be read now: tried again in the next update
     */
    byte[] pixels(String id) throws IOException, UndecodableException;
}
